//! What servers of tools are given by files that stand ready: secret in all that leaves of the session.
//!
//! A file may change or go, and what was read from it may stand in the journal all the same. So the values lie in the
//! session's folder, from the first launch on that used them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::runtime::secrets::masks::add_servers;
use crate::runtime::{RuntimeError, Session};
use promptd_mask::Secrets;
use promptd_model::McpServer;
use promptd_sys as sys;

/// The file's name in a session's folder: a list of texts.
const FILE_NAME: &str = "file-secrets.json";

/// Of files that change with every turn, no more bytes than this are remembered; what is in force always is.
const MOST: usize = 256 << 10;

/// The values, once they have been asked for.
#[derive(Debug, Default)]
pub(crate) struct FileSecrets(Mutex<Option<Secrets>>);

impl Session {
    /// Remembers what these servers are given. To be called before an agent is.
    pub(crate) fn learn_secrets(&self, servers: &BTreeMap<String, McpServer>) -> Result<(), RuntimeError> {
        let mut found = Secrets::default();
        add_servers(servers.values(), &mut found);
        let mut guard = self.known_secrets();
        let mut all = guard.clone().unwrap_or_default();
        all.extend(&found);
        if guard.as_ref() == Some(&all) {
            return Ok(());
        }
        if all.size() > MOST {
            all = found;
        }
        let path = self.folder.join(FILE_NAME);
        let written = serde_json::to_vec(&all)
            .map_err(io::Error::from)
            .and_then(|text| sys::replace_file(&path, &text));
        *guard = Some(all);
        drop(guard);
        self.mask.forget();
        written.map_err(|source| RuntimeError::Io { path, source })
    }

    /// All that is remembered.
    pub(crate) fn file_secrets(&self) -> Secrets {
        self.known_secrets().clone().unwrap_or_default()
    }

    /// Never `None` inside.
    fn known_secrets(&self) -> MutexGuard<'_, Option<Secrets>> {
        let mut known = self.file_secrets.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_with(|| {
            read(&self.folder).unwrap_or_else(|error| {
                tracing::error!(session = %self.id(), %error, "what stood in files before is not masked any more");
                Secrets::default()
            })
        });
        known
    }
}

fn read(folder: &Path) -> io::Result<Secrets> {
    match fs::read(folder.join(FILE_NAME)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Secrets::default()),
        Err(error) => Err(error),
    }
}
