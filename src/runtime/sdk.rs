//! What the door for clients of Claude Agent SDK servers keeps in the home: what they configured, and their session.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::runtime::access::watched::Watched;
use crate::runtime::{Runtime, RuntimeError, on_a_thread};
use promptd_model::{SdkConfig, SessionId};
use promptd_sys as sys;

/// The file's name in the home.
const FILE_NAME: &str = "sdk.json";

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sdk {
    /// What was configured.
    pub config: SdkConfig,
    /// The session that all clients share; `None` before the first message under this configuration.
    pub session: Option<SessionId>,
}

/// The file, as last read, and who wants to hear of changes.
#[derive(Debug)]
pub(super) struct SdkFile {
    file: Watched<Sdk>,
    /// Whoever changes a part reads the other before.
    writing: Mutex<()>,
    changes: watch::Sender<()>,
}

impl Default for SdkFile {
    fn default() -> Self {
        Self {
            file: Watched::new(Arc::default()),
            writing: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }
}

impl SdkFile {
    fn current(&self, home: &Path) -> Arc<Sdk> {
        self.file.get(&path(home), parse, Arc::clone)
    }

    fn change(&self, home: &Path, change: impl FnOnce(&mut Sdk)) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current(home);
        let mut new = Sdk::clone(&old);
        change(&mut new);
        if new == *old {
            return Ok(());
        }
        sys::replace_file(&path(home), &serde_json::to_vec(&new)?)?;
        drop(self.current(home));
        self.changes.send_replace(());
        Ok(())
    }
}

fn path(home: &Path) -> PathBuf {
    home.join(FILE_NAME)
}

/// The error tells where the file is wrong, and nothing of what stands there.
fn parse(text: Option<&str>) -> Result<Arc<Sdk>, String> {
    let Some(text) = text else { return Ok(Arc::default()) };
    serde_json::from_str(text).map(Arc::new).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("line {line}, column {column}: remove it, and let POST /config write it again")
    })
}

impl Runtime {
    /// What clients of Claude Agent SDK servers configured, and their session.
    pub fn sdk(&self) -> Arc<Sdk> {
        self.sdk.current(&self.settings().home)
    }

    /// Tells when that changes.
    pub fn sdk_changes(&self) -> watch::Receiver<()> {
        self.sdk.changes.subscribe()
    }

    /// Puts a configuration into force; another one than before begins a new session with the next message.
    pub async fn configure_sdk(self: &Arc<Self>, config: SdkConfig) -> Result<(), RuntimeError> {
        self.change_sdk(move |sdk| {
            if sdk.config != config {
                *sdk = Sdk { config, session: None };
            }
        })
        .await
    }

    /// Makes a session the shared one.
    pub async fn share_sdk_session(self: &Arc<Self>, session: SessionId) -> Result<(), RuntimeError> {
        self.change_sdk(move |sdk| sdk.session = Some(session)).await
    }

    async fn change_sdk(self: &Arc<Self>, change: impl FnOnce(&mut Sdk) + Send + 'static) -> Result<(), RuntimeError> {
        let runtime = Arc::clone(self);
        on_a_thread(move || {
            let home = &runtime.settings().home;
            let changed = runtime.sdk.change(home, change);
            changed.map_err(|source| RuntimeError::Io {
                path: path(home),
                source,
            })?;
            // From now on the log hides the secrets, too.
            drop(runtime.server_masker());
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_outlives_the_server_for_nobodys_eyes_and_what_makes_no_sense_is_not_quoted() {
        let home = std::env::temp_dir().join(format!("promptd-sdk-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let set = |sdk: &mut Sdk| sdk.config.model = Some("m".to_owned());
        SdkFile::default().change(&home, set).unwrap();
        let mode = std::fs::metadata(path(&home)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = SdkFile::default();
        assert_eq!(again.current(&home).config.model.as_deref(), Some("m"));
        std::fs::write(path(&home), r#"{"config":{"anthropicApiKey":4711}}"#).unwrap();
        assert_eq!(again.current(&home).config.model.as_deref(), Some("m"));
        let error = parse(Some(r#"{"s3cret":1}"#)).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
        std::fs::remove_dir_all(home).unwrap();
    }
}
