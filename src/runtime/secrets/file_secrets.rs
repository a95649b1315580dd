//! Secrets that a session had, and that are nowhere else any more: hidden in all output of the session.
//!
//! Agents get some from `config.toml`, and MCP servers from workspace configuration files. A file may change or go, and the
//! journal may still show what was read from it. So the values are kept in the session's folder, from the first launch on
//! that used them. So are the keys of a sink that another one has replaced.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::error::RuntimeError;
use crate::runtime::secrets::known::{add_configuration, add_mcp_servers, add_sinks};
use crate::runtime::settings::Settings;
use promptd_mask::Secrets;
use promptd_model::{McpServer, SinkRequest};
use promptd_sys as sys;

/// The file's name in a session's folder: a list of texts.
const FILE_NAME: &str = "file-secrets.json";

/// Of files that change with every turn, no more bytes than this are remembered; current values always are.
const MAX_BYTES: usize = 256 << 10;

/// The values, read when they are first needed.
#[derive(Debug)]
pub(crate) struct FileSecrets {
    path: PathBuf,
    values: Mutex<Option<Arc<Secrets>>>,
    generation: AtomicU64,
}

impl FileSecrets {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE_NAME),
            values: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// Remembers what an agent and its MCP servers can get from files. To be called before the agent starts, with all of it:
    /// where there is too much, only the last call counts.
    pub(crate) fn add_launch(
        &self,
        settings: &Settings,
        servers: &BTreeMap<String, McpServer>,
    ) -> Result<(), RuntimeError> {
        let mut found = Secrets::default();
        add_mcp_servers(servers.values(), &mut found);
        add_configuration(settings, &mut found);
        self.keep(found)
    }

    /// Remembers the keys of these sinks. To be called before others replace them.
    pub(crate) fn add_sinks(&self, sinks: &[SinkRequest]) -> Result<(), RuntimeError> {
        let mut found = Secrets::default();
        add_sinks(sinks, &mut found);
        self.keep(found)
    }

    fn keep(&self, found: Secrets) -> Result<(), RuntimeError> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let known = values.get_or_insert_with(|| read(&self.path));
        let mut all = Secrets::clone(known);
        all.extend(&found);
        if **known == all {
            return Ok(());
        }
        if all.size() > MAX_BYTES {
            all = found;
        }
        let written = serde_json::to_vec(&all)
            .map_err(io::Error::from)
            .and_then(|text| sys::replace_file(&self.path, &text));
        *values = Some(Arc::new(all));
        self.generation.fetch_add(1, Ordering::Release);
        written.map_err(|source| RuntimeError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// A number that changes with what is remembered.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// All that is remembered; another `Arc` whenever it has changed.
    pub(crate) fn get(&self) -> Arc<Secrets> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(values.get_or_insert_with(|| read(&self.path)))
    }
}

/// The largest file of secrets.
const MAX_FILE: u64 = 64 << 20;

fn read(path: &Path) -> Arc<Secrets> {
    let secrets = match sys::read_own(path, MAX_FILE) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Secrets::default()),
        Err(error) => Err(error),
    };
    Arc::new(secrets.unwrap_or_else(|error| {
        tracing::error!(path = %path.display(), %error, "secrets of former files are not masked any more");
        Secrets::default()
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::runtime::config;
    use promptd_mask::Masker;

    fn server(value: &str) -> BTreeMap<String, McpServer> {
        let server = McpServer {
            env: [("ANY".to_owned(), value.to_owned())].into(),
            ..McpServer::default()
        };
        [("lab".to_owned(), server)].into()
    }

    /// A configuration whose agent has this key.
    fn settings(key: &str) -> Settings {
        let file = format!("[agents.mine]\ncommand = [\"cat\"]\nenv = {{ MY_TOKEN = \"{key}\" }}\n");
        let flags = config::Flags {
            home: Some("/nonexistent".into()),
            workspace: Some("/nonexistent".into()),
            ..config::Flags::default()
        };
        config::settings(flags, &BTreeMap::default(), Some(&file)).unwrap()
    }

    #[test]
    fn values_stay_known_after_their_file_changed_and_the_server_restarted() {
        let folder = std::env::temp_dir().join(format!("promptd-file-secrets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let secrets = FileSecrets::new(&folder);
        let add = |value: &str| {
            secrets
                .add_launch(&settings(&format!("key-{value}")), &server(value))
                .unwrap();
        };
        add("first-value");
        let before = secrets.get();
        add("first-value");
        assert!(Arc::ptr_eq(&before, &secrets.get()), "nothing new");
        add("second-value");
        let again = FileSecrets::new(&folder).get();
        let masker = Masker::new(&again).unwrap();
        let all = "first-value second-value key-first-value key-second-value";
        assert_eq!(masker.text(all), "*** *** *** ***");
        fs::remove_dir_all(folder).unwrap();
    }
}
