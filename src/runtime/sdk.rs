//! What clients of Claude Agent SDK servers configured, and the session that they share; kept in the home.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::runtime::cached_file::JsonFile;
use crate::runtime::error::RuntimeError;
use crate::runtime::versioned;
use promptd_model::{SdkConfig, SessionId};

/// The file's name in the home.
const FILE_NAME: &str = "sdk.json";

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sdk {
    /// What was configured.
    pub config: SdkConfig,
    /// The session that all clients share; `None` before the first message under this configuration.
    pub session: Option<SessionId>,
}

/// The file, and a signal for those who wait for changes.
#[derive(Debug)]
pub(crate) struct SdkStore {
    file: JsonFile<Sdk>,
    changes: watch::Sender<()>,
}

impl SdkStore {
    pub(crate) fn new(home: &Path) -> Self {
        Self {
            file: JsonFile::new(home.join(FILE_NAME), parse),
            changes: watch::Sender::new(()),
        }
    }

    pub(crate) fn get(&self) -> Arc<Sdk> {
        self.file.get()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Another configuration than before starts a new session with the next message.
    pub(crate) fn configure(&self, config: SdkConfig) -> Result<(), RuntimeError> {
        self.update(|sdk| {
            if sdk.config != config {
                *sdk = Sdk { config, session: None };
            }
        })
    }

    /// Makes a session the shared one.
    pub(crate) fn share_session(&self, session: SessionId) -> Result<(), RuntimeError> {
        self.update(|sdk| sdk.session = Some(session))
    }

    fn update(&self, change: impl FnOnce(&mut Sdk)) -> Result<(), RuntimeError> {
        if self.file.update(change)? {
            self.changes.send_replace(());
        }
        Ok(())
    }
}

/// The error says where the file is wrong, and quotes nothing of it.
fn parse(text: &str) -> Result<Sdk, String> {
    let parsed = versioned::parse(text.as_bytes());
    parsed.map(|(sdk, _unknown)| sdk).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("line {line}, column {column}: remove it, and let POST /config write it again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn configuration_outlives_the_server_and_errors_quote_nothing() {
        let home = std::env::temp_dir().join(format!("promptd-sdk-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let config = SdkConfig {
            model: Some("m".to_owned()),
            ..SdkConfig::default()
        };
        SdkStore::new(&home).configure(config).unwrap();
        let path = home.join(FILE_NAME);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = SdkStore::new(&home);
        assert_eq!(again.get().config.model.as_deref(), Some("m"));
        std::fs::write(&path, r#"{"config":{"anthropicApiKey":4711}}"#).unwrap();
        assert_eq!(again.get().config.model.as_deref(), Some("m"));
        let error = parse(r#"{"session":{"s3cret":1}}"#).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
        std::fs::remove_dir_all(home).unwrap();
    }
}
