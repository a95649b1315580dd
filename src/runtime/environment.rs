//! What agents get in their environment beyond the server's own: what was configured, and what the platform tells.
//!
//! Both lie in one file of the home, so that they outlive the server; a file that somebody else puts there is taken, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::watched::Watched;
use crate::keeper::Launch;
use crate::mask::Secrets;
use crate::sys;

/// The file's name in the home.
const FILE_NAME: &str = "environment.json";

/// What Linux takes of one variable, name and all (`MAX_ARG_STRLEN`).
const MOST_OF_ONE: usize = 128 << 10;

/// What all together may have: far less than Linux takes, as arguments and the rest of the environment count, too.
const MOST_OF_ALL: usize = 1 << 20;

/// Names and values.
pub(super) type Names = BTreeMap<String, String>;

/// The variables that agents get, by their source.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Variables {
    /// What `promptd configure` set.
    pub(super) configured: Names,
    /// What the platform told to the last caller whom it vouched for.
    pub(super) platform: Names,
}

impl fmt::Debug for Variables {
    /// Which there are; never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Variables {
    /// The names, each once.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.configured
            .keys()
            .chain(self.platform.keys())
            .map(String::as_str)
            .collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.configured
            .get(name)
            .or_else(|| self.platform.get(name))
            .map(String::as_str)
    }

    /// Puts them under what a session and its agent ask for.
    pub(super) fn under(&self, mut launch: Launch) -> Launch {
        let all = self.platform.iter().chain(&self.configured);
        let own = all.map(|(name, value)| (name.clone(), value.clone()));
        launch.env = own.chain(launch.env).collect();
        launch
    }

    pub(super) fn add_secrets(&self, secrets: &mut Secrets) {
        for (name, value) in self.configured.iter().chain(&self.platform) {
            secrets.add_env(name, value);
        }
    }
}

/// What is wrong with a variable, if anything is; never its value.
pub(super) fn wrong(variables: &Names) -> Option<(&str, &'static str)> {
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
pub(super) struct Environment {
    file: Watched<Variables>,
    /// Who changes a part reads the other before.
    writing: Mutex<()>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            file: Watched::new(Arc::default()),
            writing: Mutex::default(),
        }
    }
}

pub(super) fn path(home: &Path) -> PathBuf {
    home.join(FILE_NAME)
}

impl Environment {
    /// What stands in the file now.
    pub(super) fn current(&self, home: &Path) -> Arc<Variables> {
        self.file.get(&path(home), parse, Arc::clone)
    }

    /// Changes what stands in the file.
    pub(super) fn change(&self, home: &Path, change: impl FnOnce(&mut Variables)) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current(home);
        let mut new = Variables::clone(&old);
        change(&mut new);
        if new == *old {
            return Ok(());
        }
        sys::replace(&path(home), &serde_json::to_vec(&new)?)?;
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
        };
        let launch = Launch {
            program: "/bin/true".into(),
            args: Vec::new(),
            env: vec![("A".to_owned(), "session".to_owned())],
            cwd: "/".into(),
            stdin: crate::keeper::Stdin::Null,
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
