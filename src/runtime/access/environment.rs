//! What agents get in their environment beyond the server's own: what was configured, and what the platform tells.
//!
//! Both lie in one file of the home, so that they outlive the server; a file that somebody else puts there is taken, too.
//! A value that is replaced stays there, apart: an old journal may show it, and what is masked has to stay so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::runtime::access::watched::Watched;
use promptd_keeper::Launch;
use promptd_mask::Secrets;
use promptd_sys as sys;

/// The file's name in the home.
const FILE_NAME: &str = "environment.json";

/// What Linux takes of one variable, name and all (`MAX_ARG_STRLEN`).
const MOST_OF_ONE: usize = 128 << 10;

/// What all together may have: far less than Linux takes, as arguments and the rest of the environment count, too.
const MOST_OF_ALL: usize = 1 << 20;

/// So many replaced values of one variable are kept, so that one that changes each time crowds out no other, …
const MOST_RETIRED_OF_ONE: usize = 64;

/// … and so many bytes of all.
const MOST_RETIRED: usize = 256 << 10;

/// What the names of the platform's own variables begin with.
const OF_THE_PLATFORM: &str = "E2B_";

/// Names and values.
pub(crate) type Names = BTreeMap<String, String>;

/// The variables that agents get, by their source.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Variables {
    /// What `promptd configure` set.
    pub(crate) configured: Names,
    /// What the platform told to the last caller whom it vouched for.
    pub(crate) platform: Names,
    /// Values that one of the two had before, the newest at the end. No agent gets them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retired: Vec<(String, String)>,
}

impl fmt::Debug for Variables {
    /// Which there are; never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Variables {
    /// The names, each once.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.configured
            .keys()
            .chain(self.platform.keys())
            .map(String::as_str)
            .collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.configured
            .get(name)
            .or_else(|| self.platform.get(name))
            .map(String::as_str)
    }

    /// Puts them under what a session and its agent ask for.
    pub(crate) fn under(&self, mut launch: Launch) -> Launch {
        let all = self.platform.iter().chain(&self.configured);
        let own = all.map(|(name, value)| (name.clone(), value.clone()));
        launch.env = own.chain(launch.env).collect();
        launch
    }

    /// Takes what the platform tells now. One that was booted anew has forgotten what the sandbox was created with, and
    /// tells nothing but its own names: then what it told before stays.
    pub(crate) fn platform_tells(&mut self, mut told: Names) {
        if told.keys().all(|name| name.starts_with(OF_THE_PLATFORM)) {
            for (name, value) in &self.platform {
                told.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.platform = told;
    }

    /// Every value that a variable has, and those it had.
    fn values(&self) -> impl Iterator<Item = (&String, &String)> {
        let now = self.configured.iter().chain(&self.platform);
        now.chain(self.retired.iter().map(|(name, value)| (name, value)))
    }

    pub(crate) fn add_secrets(&self, secrets: &mut Secrets) {
        for (name, value) in self.values() {
            secrets.add_env(name, value);
        }
    }

    /// The same for a variable of which it is known that it is secret, whatever its name.
    pub(crate) fn add_secret(&self, variable: &str, secrets: &mut Secrets) {
        for (_, value) in self.values().filter(|(name, _)| *name == variable) {
            secrets.add(value);
        }
    }

    /// Keeps what `old` had and this has not, within bounds.
    fn retire(&mut self, old: &Self) {
        for (name, value) in old.configured.iter().chain(&old.platform) {
            let is_there = |names: &Names| names.get(name) == Some(value);
            if is_there(&self.configured) || is_there(&self.platform) {
                continue;
            }
            self.retired.retain(|(known, had)| (known, had) != (name, value));
            self.retired.push((name.clone(), value.clone()));
        }
        let (mut bytes, mut counts) = (0_usize, BTreeMap::<String, usize>::new());
        let mut newest_first: Vec<_> = std::mem::take(&mut self.retired).into_iter().rev().collect();
        newest_first.retain(|(name, value)| {
            let count = counts.entry(name.clone()).or_default();
            *count = count.saturating_add(1);
            let size = name.len().saturating_add(value.len());
            let fits = *count <= MOST_RETIRED_OF_ONE && bytes.saturating_add(size) <= MOST_RETIRED;
            bytes = bytes.saturating_add(if fits { size } else { 0 });
            fits
        });
        self.retired = newest_first.into_iter().rev().collect();
    }
}

/// What is wrong with a variable, if anything is; never its value.
pub(crate) fn wrong(variables: &Names) -> Option<(&str, &'static str)> {
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
        } else if size >= MOST_OF_ONE {
            "Linux starts no program with a variable of more than 128 KiB; put it into a file"
        } else if all > MOST_OF_ALL {
            "this and those before it have more than 1 MiB, which is too much for an environment; put some into files"
        } else {
            return None;
        };
        Some((name.as_str(), hint))
    })
}

/// The file, as last read.
#[derive(Debug)]
pub(crate) struct Environment(Watched<Variables>);

impl Default for Environment {
    fn default() -> Self {
        Self(Watched::new(Arc::default()))
    }
}

pub(crate) fn path(home: &Path) -> PathBuf {
    home.join(FILE_NAME)
}

impl Environment {
    /// What stands in the file now.
    pub(crate) fn current(&self, home: &Path) -> Arc<Variables> {
        self.0.get(&path(home), parse, Arc::clone)
    }

    /// Changes what stands in the file. Who changes a part reads the others before, so that there may be only one.
    pub(crate) fn change(&self, home: &Path, change: impl FnOnce(&mut Variables)) -> io::Result<()> {
        let old = self.current(home);
        let mut new = Variables::clone(&old);
        change(&mut new);
        new.retire(&old);
        if new == *old {
            return Ok(());
        }
        sys::replace_file(&path(home), &serde_json::to_vec(&new)?)?;
        // Read now, it is what stays in force when somebody spoils the file.
        drop(self.current(home));
        Ok(())
    }
}

/// The error tells where the file is wrong, and nothing of what stands there.
fn parse(text: Option<&str>) -> Result<Arc<Variables>, String> {
    let Some(text) = text else { return Ok(Arc::default()) };
    let variables: Variables = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!(
            "line {line}, column {column}: write {{\"configured\":{{\"NAME\":\"value\"}}}}, or let `promptd configure` write it"
        )
    })?;
    for names in [&variables.configured, &variables.platform] {
        if let Some((name, hint)) = wrong(names) {
            return Err(format!("{name:?}: {hint}"));
        }
    }
    Ok(Arc::new(variables))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(&str, &str)]) -> Names {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("promptd-environment-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_session_wins_over_what_was_configured_and_that_over_the_platform() {
        let variables = Variables {
            configured: names(&[("A", "configured"), ("B", "configured")]),
            platform: names(&[("A", "platform"), ("B", "platform"), ("C", "platform")]),
            retired: vec![("D".to_owned(), "retired".to_owned())],
        };
        let launch = Launch {
            program: "/bin/true".into(),
            args: Vec::new(),
            env: vec![("A".to_owned(), "session".to_owned())],
            cwd: "/".into(),
            stdin: promptd_keeper::Stdin::Null,
            setup: None,
        };
        // As a process gets them: the last one counts.
        let env: Names = variables.under(launch).env.into_iter().collect();
        assert_eq!(env, names(&[("A", "session"), ("B", "configured"), ("C", "platform")]));
        assert_eq!(
            (variables.get("B"), variables.get("C")),
            (Some("configured"), Some("platform"))
        );
        assert_eq!(format!("{variables:?}"), r#"{"A", "B", "C"}"#);
    }

    #[test]
    fn both_parts_outlive_the_server_and_a_change_of_one_keeps_the_other() {
        let home = folder("kept");
        let environment = Environment::default();
        environment
            .change(&home, |variables| variables.configured = names(&[("A", "1")]))
            .unwrap();
        environment
            .change(&home, |variables| variables.platform = names(&[("B", "2")]))
            .unwrap();
        let read = Environment::default().current(&home);
        assert_eq!((read.get("A"), read.get("B")), (Some("1"), Some("2")));
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn what_was_replaced_is_kept_apart_outlives_the_server_and_has_bounds() {
        let home = folder("retired");
        let environment = Environment::default();
        let set = |value: &str| {
            let one = names(&[("KEY", value)]);
            environment
                .change(&home, |variables| variables.configured = one)
                .unwrap();
        };
        for number in 0..=(MOST_RETIRED_OF_ONE + 1) {
            set(&format!("value-{number}"));
        }
        set("value-2");
        environment
            .change(&home, |variables| variables.configured.clear())
            .unwrap();
        let read = Environment::default().current(&home);
        assert_eq!(read.get("KEY"), None);
        let had: Vec<_> = read.retired.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(had.len(), MOST_RETIRED_OF_ONE);
        assert_eq!((had.first(), had.last()), (Some(&"value-3"), Some(&"value-2")));
        let large = "x".repeat(MOST_OF_ONE - 10);
        for name in ["A", "B", "C"] {
            let one = names(&[(name, &large)]);
            environment
                .change(&home, |variables| variables.configured = one)
                .unwrap();
        }
        let read = Environment::default().current(&home);
        let size: usize = read.retired.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(
            size <= MOST_RETIRED && read.retired.iter().any(|(name, _)| name == "B"),
            "{size}"
        );
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path(&home)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_platform_that_has_forgotten_takes_nothing_away_and_one_that_tells_replaces() {
        let mut variables = Variables::default();
        let mut after = |told: &[(&str, &str)]| {
            variables.platform_tells(names(told));
            variables.platform.clone()
        };
        let first = [("E2B_SANDBOX_ID", "one"), ("KEY", "1"), ("OTHER", "2")];
        assert_eq!(after(&first), names(&first));
        assert_eq!(after(&[]), names(&first), "after a cold boot");
        let kept = [("E2B_SANDBOX_ID", "two"), ("KEY", "1"), ("OTHER", "2")];
        assert_eq!(after(&[("E2B_SANDBOX_ID", "two")]), names(&kept), "but for its own");
        assert_eq!(after(&[("KEY", "3")]), names(&[("KEY", "3")]));
    }

    #[test]
    fn a_file_that_makes_no_sense_leaves_the_old_in_force_and_tells_no_value() {
        let home = folder("broken");
        let environment = Environment::default();
        environment
            .change(&home, |variables| variables.configured = names(&[("A", "1")]))
            .unwrap();
        for text in [
            r#"{"configured":{"KEY":["s3cret"]}}"#,
            r#"{"s3cret":{}}"#,
            r#"{"configured":{"PATH":"s3cret"}}"#,
        ] {
            std::fs::write(path(&home), text).unwrap();
            assert_eq!(environment.current(&home).get("A"), Some("1"));
            let error = parse(Some(text)).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn what_no_process_can_be_started_with_is_refused() {
        let large = "x".repeat(MOST_OF_ONE);
        for (name, value) in [
            ("", "x"),
            ("A=B", "x"),
            ("A", "\0"),
            ("PROMPTD_TOKEN", "x"),
            ("PATH", "/bin"),
            ("A", &large),
        ] {
            assert!(wrong(&names(&[(name, value)])).is_some(), "{name}");
        }
        let many: Names = (0..11).map(|n| (format!("V{n}"), "x".repeat(100_000))).collect();
        assert_eq!(wrong(&many).map(|(name, _)| name), Some("V9"));
        assert_eq!(wrong(&names(&[("HOME", "/root"), ("a.b", "")])), None);
    }
}
