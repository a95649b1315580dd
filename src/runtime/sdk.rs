//! What clients of Claude Agent SDK servers configured, and the session that they share; kept in the home.

use std::path::Path;
use std::sync::Arc;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use tokio::sync::watch;

use crate::runtime::access::variables::Variables;
use crate::runtime::cached_file::JsonFile;
use crate::runtime::error::RuntimeError;
use crate::runtime::secrets::known;
use crate::runtime::versioned::{self, UnknownFields};
use promptd_mask::Secrets;
use promptd_model::{SdkConfig, SessionId};

/// The file's name in the home.
const FILE_NAME: &str = "sdk.json";

/// Of configurations that change all the time, no more bytes of secrets than this are remembered.
const MAX_REPLACED_BYTES: usize = 256 << 10;

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sdk {
    /// What was configured.
    pub config: SdkConfig,
    /// The session that all clients share; `None` before the first message under this configuration.
    pub session: Option<SessionId>,
    /// Secrets of former configurations: an old journal may show them. No agent gets them.
    pub(crate) replaced: Secrets,
    /// What a newer version has written, too.
    #[serde(skip)]
    unknown: UnknownFields,
}

impl Sdk {
    /// Another configuration, under which there is no session yet.
    fn with_config(&self, config: SdkConfig) -> Self {
        let mut replaced = self.replaced.clone();
        replaced.extend(&self.secrets());
        if replaced.size() > MAX_REPLACED_BYTES {
            replaced = self.secrets();
        }
        Self {
            config,
            session: None,
            replaced,
            unknown: self.unknown.outside_of("config"),
        }
    }

    /// The secrets of the configuration that is in force.
    fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        known::add_request(&self.config.request(), &[], &Variables::default(), &mut secrets);
        secrets
    }
}

/// The file without what a newer version has written.
#[derive(Serialize)]
struct Known<'a> {
    config: &'a SdkConfig,
    session: Option<&'a SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<&'a Secrets>,
}

impl Serialize for Sdk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = Known {
            config: &self.config,
            session: self.session.as_ref(),
            replaced: Some(&self.replaced).filter(|replaced| **replaced != Secrets::default()),
        };
        let mut value = serde_json::to_value(known).map_err(S::Error::custom)?;
        self.unknown.restore(&mut value);
        value.serialize(serializer)
    }
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
                *sdk = sdk.with_config(config);
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
    let parsed = serde_json::from_str(text).and_then(|read: Value| {
        let (mut sdk, _): (Sdk, _) = versioned::parse(text.as_bytes())?;
        // Its options are those of clients, who send others, too: those are not refused when they are read.
        sdk.unknown = UnknownFields::missing(&read, &serde_json::to_value(&sdk)?);
        Ok(sdk)
    });
    parsed.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("line {line}, column {column}: remove it, and let POST /config write it again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn fields_of_a_newer_version_and_replaced_secrets_stay() {
        let text = r#"{"config":{"anthropicApiKey":"first-key-1","effort":"high","mcpServers":{"m":{"url":"http://x",
            "retries":3}}},"session":null,"labels":["next"]}"#;
        let mut sdk = parse(text).unwrap();
        sdk.session = Some("shared".parse().unwrap());
        let written = serde_json::to_value(&sdk).unwrap();
        for (pointer, value) in [
            ("/config/effort", json!("high")),
            ("/config/mcpServers/m/retries", json!(3)),
            ("/labels/0", json!("next")),
            ("/session", json!("shared")),
        ] {
            assert_eq!(written.pointer(pointer), Some(&value), "{written}");
        }
        let config = |key: &str| SdkConfig {
            anthropic_api_key: Some(key.to_owned()),
            ..SdkConfig::default()
        };
        let other = sdk
            .with_config(config("second-key-2"))
            .with_config(config("third-key-3"));
        let again = parse(&serde_json::to_string(&other).unwrap()).unwrap();
        assert_eq!(again, other);
        let masker = promptd_mask::Masker::new(&again.replaced).unwrap();
        assert_eq!(
            masker.text("first-key-1 second-key-2 third-key-3"),
            "*** *** third-key-3"
        );
        let written = serde_json::to_value(&again).unwrap();
        assert_eq!(
            (&written["labels"][0], &written["config"]["effort"]),
            (&json!("next"), &Value::Null)
        );
        // As many as one likes, within bounds.
        let many = (0..100).fold(again, |sdk, n| {
            sdk.with_config(config(&format!("{n}{}", "k".repeat(9_000))))
        });
        assert!(many.replaced.size() <= MAX_REPLACED_BYTES);
    }

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
