//! The variables that agents get beyond the server's own environment: configured ones, and those of the platform.
//!
//! Both are kept in one file of the home, so that they outlive the server; a file that somebody else wrote there counts,
//! too. A replaced value is kept apart: an old journal may show it, and it has to stay masked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use promptd_mask::Secrets;
use promptd_model::{MAX_ARGUMENT, SessionRequest};

/// The file's name in the home.
const FILE_NAME: &str = "environment.json";

/// What all together may have: far less than Linux takes, as arguments and the rest of the environment count, too.
const MAX_ENVIRONMENT: usize = 1 << 20;

/// So many replaced values of one variable are kept, so that one that changes each time crowds out no other, …
const MAX_REPLACED_VALUES: usize = 64;

/// … and so many bytes of all.
const MAX_REPLACED_BYTES: usize = 256 << 10;

/// The prefix of the platform's own variables.
const PLATFORM_PREFIX: &str = "E2B_";

/// Names and values.
pub(crate) type Names = BTreeMap<String, String>;

/// The variables that agents get, by their source.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Variables {
    /// What `promptd configure` set.
    pub(crate) configured: Names,
    /// What the platform gave with the last caller that it authenticated.
    pub(crate) platform: Names,
    /// Former values of both, the newest at the end. No agent gets them.
    #[serde(rename = "retired", skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<(String, String)>,
    /// What a newer version has written, too.
    #[serde(flatten)]
    unknown: serde_json::Map<String, serde_json::Value>,
}

impl fmt::Debug for Variables {
    /// The names; never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Variables {
    /// The names, each once.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let names = self.configured.keys().chain(self.platform.keys());
        names.map(String::as_str).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.configured.get(name).or_else(|| self.platform.get(name));
        value.map(String::as_str)
    }

    /// A variable as agents see it where their session does not set it: ours, or the server's own.
    pub(crate) fn get_or_inherited(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned).or_else(|| std::env::var(name).ok())
    }

    /// The token for a session's repository, if it has one.
    pub(crate) fn repository_token(&self, request: &SessionRequest) -> Option<String> {
        let variable = request.repo.as_ref()?.token_env.as_ref()?;
        let own = request.env.get(variable).cloned();
        own.or_else(|| self.get_or_inherited(variable))
    }

    /// All of them; the last one of a name counts.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let all = self.platform.iter().chain(&self.configured);
        all.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Replaces those of the platform. After a cold boot the platform has forgotten what the sandbox was created with,
    /// and gives nothing but names of its own: then the others stay.
    pub(crate) fn set_platform(&mut self, mut new: Names) {
        if new.keys().all(|name| name.starts_with(PLATFORM_PREFIX)) {
            for (name, value) in &self.platform {
                new.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.platform = new;
    }

    /// All values, replaced ones too.
    fn values(&self) -> impl Iterator<Item = (&String, &String)> {
        let current = self.configured.iter().chain(&self.platform);
        current.chain(self.replaced.iter().map(|(name, value)| (name, value)))
    }

    pub(crate) fn add_secrets(&self, secrets: &mut Secrets) {
        for (name, value) in self.values() {
            secrets.add_env(name, value);
        }
    }

    /// The same for one variable that is known to be secret, whatever its name.
    pub(crate) fn add_secret(&self, variable: &str, secrets: &mut Secrets) {
        for (_, value) in self.values().filter(|(name, _)| *name == variable) {
            secrets.add(value);
        }
    }

    /// Keeps the values that `old` had and this has not, within bounds.
    pub(crate) fn keep_replaced(&mut self, old: &Self) {
        for (name, value) in old.configured.iter().chain(&old.platform) {
            let is_current = |names: &Names| names.get(name) == Some(value);
            if is_current(&self.configured) || is_current(&self.platform) {
                continue;
            }
            self.replaced.retain(|(known, had)| (known, had) != (name, value));
            self.replaced.push((name.clone(), value.clone()));
        }
        let (mut bytes, mut counts) = (0_usize, BTreeMap::<String, usize>::new());
        let mut newest_first: Vec<_> = std::mem::take(&mut self.replaced).into_iter().rev().collect();
        newest_first.retain(|(name, value)| {
            let count = counts.entry(name.clone()).or_default();
            *count = count.saturating_add(1);
            let size = name.len().saturating_add(value.len());
            let fits = *count <= MAX_REPLACED_VALUES && bytes.saturating_add(size) <= MAX_REPLACED_BYTES;
            bytes = bytes.saturating_add(if fits { size } else { 0 });
            fits
        });
        self.replaced = newest_first.into_iter().rev().collect();
    }
}

/// The first variable that no agent can get, and why; never its value.
pub(crate) fn find_invalid(variables: &Names) -> Option<(&str, &'static str)> {
    let mut all = 0_usize;
    variables.iter().find_map(|(name, value)| {
        let size = name.len().saturating_add(value.len());
        all = all.saturating_add(size);
        let hint = if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            "a name is not empty and has no '='; neither name nor value has a NUL"
        } else if name.starts_with("PROMPTD_") {
            "names that begin with PROMPTD_ are promptd's own, and no agent gets them"
        } else if name == "PATH" {
            "promptd makes the PATH of agents itself; give another one in a session's env"
        } else if size >= MAX_ARGUMENT {
            "Linux starts no program with a variable of more than 128 KiB; put it into a file"
        } else if all > MAX_ENVIRONMENT {
            "this and those before it have more than 1 MiB, which is too much for an environment; put some into files"
        } else {
            return None;
        };
        Some((name.as_str(), hint))
    })
}

pub(crate) fn path(home: &Path) -> PathBuf {
    home.join(FILE_NAME)
}

/// Reads the file. The error says where it is wrong, and quotes no value.
pub(crate) fn parse(text: &str) -> Result<Variables, String> {
    const HINT: &str = "write {\"configured\":{\"NAME\":\"value\"}}, or let `promptd configure` write it";
    let variables: Variables = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("line {line}, column {column}: {HINT}")
    })?;
    // A newer version adds to what this one knows.
    if variables.configured.is_empty() && variables.platform.is_empty() && !variables.unknown.is_empty() {
        return Err(format!("there is no \"configured\" in it: {HINT}"));
    }
    for names in [&variables.configured, &variables.platform] {
        if let Some((name, hint)) = find_invalid(names) {
            return Err(format!("{name:?}: {hint}"));
        }
    }
    Ok(variables)
}

#[cfg(test)]
#[path = "variables_tests.rs"]
mod tests;
