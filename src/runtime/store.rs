//! The home: where sessions lie, and what each was asked for.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::RuntimeError;
use crate::model::{SessionId, SessionRequest};
use crate::sys;

/// The version that this program writes, and the only one it reads.
const VERSION: u32 = 1;

/// Deleted sessions are renamed to this and then removed, so that none is ever half there.
const DELETED: &str = ".deleted-";

/// A server that was killed while it started a keeper leaves a process that has all its files, the lock too, until
/// its program runs; that takes a moment on a busy machine.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_AGAIN: Duration = Duration::from_millis(5);

/// A session's `session.json`: the request, as accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionFile {
    version: u32,
    /// The session.
    pub id: SessionId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The agent, after defaults.
    pub agent: String,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The caller's `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What was asked for; the prompt is in the journal.
    pub request: SessionRequest,
}

impl SessionFile {
    pub(super) fn new(
        id: SessionId,
        created_at: Timestamp,
        (agent, cwd): (String, PathBuf),
        idempotency_key: Option<String>,
        request: SessionRequest,
    ) -> Self {
        Self {
            version: VERSION,
            id,
            created_at,
            agent,
            cwd,
            idempotency_key,
            request,
        }
    }
}

/// The home, ours as long as this lives.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Home {
    /// Makes the home where there is none, and takes it: one server per home.
    pub(super) fn open(path: &Path) -> Result<Self, RuntimeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RuntimeError::Io { path, source }
        };
        let sessions = path.join("sessions");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&sessions)
            .map_err(failed(&sessions))?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        let lock = take(file).ok_or_else(|| RuntimeError::HomeInUse { home: path.to_owned() })?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder of a session.
    pub(super) fn session(&self, id: &SessionId) -> PathBuf {
        self.path.join("sessions").join(id.as_str())
    }

    /// All session folders, by name; what deleted sessions have left is removed on the way.
    pub(super) fn sessions(&self) -> io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(self.path.join("sessions"))? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(DELETED.as_bytes()) {
                remove(&entry.path());
            } else if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// Makes a session's folder with its `session.json`.
    pub(super) fn create(&self, file: &SessionFile) -> io::Result<PathBuf> {
        let folder = self.session(&file.id);
        match DirBuilder::new().mode(0o700).create(&folder) {
            // A server that was killed before the session was accepted has left it.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Empty, so that whoever follows the session before its first prompt finds it.
        let mut journal = OpenOptions::new();
        journal
            .append(true)
            .create(true)
            .mode(0o600)
            .open(folder.join(crate::journal::FILE_NAME))?;
        sys::replace(&folder.join("session.json"), &serde_json::to_vec(file)?)?;
        Ok(folder)
    }

    /// Forgets a session.
    pub(super) fn delete(&self, id: &SessionId) -> io::Result<()> {
        let gone = self.path.join("sessions").join(format!("{DELETED}{id}"));
        fs::rename(self.session(id), &gone)?;
        remove(&gone);
        Ok(())
    }
}

/// Takes a lock; `None` when somebody else keeps it.
fn take(mut file: File) -> Option<Flock<File>> {
    let begun = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err(_) if begun.elapsed() > LOCK_PATIENCE => return None,
            Err((back, _)) => file = back,
        }
        std::thread::sleep(LOCK_AGAIN);
    }
}

/// Reads a session's `session.json`.
pub(super) fn read(folder: &Path) -> io::Result<SessionFile> {
    let file: SessionFile = serde_json::from_slice(&fs::read(folder.join("session.json"))?)?;
    if file.version == VERSION {
        return Ok(file);
    }
    Err(io::Error::other(format!(
        "session.json has version {}, this program reads {VERSION}",
        file.version
    )))
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(path = %folder.display(), %error, "a deleted session could not be removed; it is tried again at the next start");
    }
}
