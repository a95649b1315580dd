//! The home: the folders of sessions, and the request of each.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use crate::runtime::error::RuntimeError;
use crate::runtime::session::private_home::check_private;
use crate::runtime::versioned::{UnknownFields, check_version, file_error, parse};
use promptd_journal::FILE_NAME;
use promptd_keeper::end_agents_with_lock;
use promptd_model::{SessionId, SessionRequest};
use promptd_sys::{self as sys, StagedFile};

/// The version that this program writes, and the only one that it reads. A field that older versions can pass over does
/// not raise it.
const VERSION: u32 = 1;

/// A server that was killed while it started a keeper holds the home until that keeper's `exec`, which closes what
/// it inherited. Nobody else holds it for so short a time.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// The largest `session.json`: a request's largest body, and more.
const MAX_FILE: u64 = 256 << 20;

/// Sessions that were deleted before every sink had them are renamed to this: no id begins with a dot.
const SET_ASIDE: &str = ".forgotten-";

/// Deleted sessions are renamed to this and then removed, so that none is ever there in part.
const DELETED: &str = ".deleted-";

/// A session's `session.json`: the request, as accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionFile {
    /// What a newer program has written, too.
    #[serde(skip)]
    unknown: UnknownFields,
    version: u32,
    /// The session.
    pub id: SessionId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The agent, after defaults.
    pub agent: String,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The folder that was made for it only, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_folder: Option<PathBuf>,
    /// The caller's `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The platform's id of the sandbox in which it was accepted, where that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What was asked for; the prompt is in the journal.
    pub request: SessionRequest,
}

impl SessionFile {
    pub(crate) fn new(
        id: SessionId,
        created_at: Timestamp,
        (agent, cwd): (String, PathBuf),
        idempotency_key: Option<String>,
        request: SessionRequest,
    ) -> Self {
        Self {
            unknown: UnknownFields::default(),
            version: VERSION,
            id,
            created_at,
            agent,
            cwd,
            own_folder: None,
            idempotency_key,
            sandbox: None,
            request,
        }
    }
}

/// The home, locked for this server as long as this value lives.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Home {
    /// Makes the home where there is none, and locks it: one server per home.
    pub(crate) fn open(path: &Path) -> Result<Self, RuntimeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RuntimeError::Io { path, source }
        };
        check_private(path)?;
        let sessions = path.join("sessions");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&sessions)
            .map_err(failed(&sessions))?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = sys::open_own(&lock_path, options).map_err(failed(&lock_path))?;
        let lock = sys::lock_file(file, LOCK_TIMEOUT).or_else(|(file, _)| {
            // An agent that holds it, and not a server: it would keep every server out.
            let ended = end_agents_with_lock(&lock_path, &sessions);
            if ended > 0 {
                tracing::warn!(path = %lock_path.display(), ended, "processes of an agent kept the home locked, and were ended");
            }
            sys::lock_file(file, LOCK_TIMEOUT.saturating_mul(u32::from(ended > 0)))
        });
        let lock = lock.map_err(|_| RuntimeError::HomeInUse { home: path.to_owned() })?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder of a session.
    pub(crate) fn session(&self, id: &SessionId) -> PathBuf {
        self.path.join("sessions").join(id.as_str())
    }

    /// All session folders, by name.
    pub(crate) fn sessions(&self) -> io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(self.path.join("sessions"))? {
            let entry = entry?;
            let is_renamed = [DELETED, SET_ASIDE].iter().any(|prefix| begins(&entry, prefix));
            if entry.file_type()?.is_dir() && !is_renamed {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// All folders that were set aside.
    pub(crate) fn all_set_aside(&self) -> io::Result<Vec<PathBuf>> {
        self.all_renamed(SET_ASIDE)
    }

    /// All folders of deleted sessions that are not removed yet.
    pub(crate) fn all_deleted(&self) -> io::Result<Vec<PathBuf>> {
        self.all_renamed(DELETED)
    }

    fn all_renamed(&self, prefix: &str) -> io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(self.path.join("sessions"))? {
            let entry = entry?;
            if begins(&entry, prefix) {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// Renames a session's folder, so that nobody finds it by its id.
    pub(crate) fn set_aside(&self, id: &SessionId) -> io::Result<PathBuf> {
        self.rename(id, SET_ASIDE)
    }

    fn rename(&self, id: &SessionId, prefix: &str) -> io::Result<PathBuf> {
        let sessions = self.path.join("sessions");
        let names = std::iter::once(format!("{prefix}{id}"));
        // An id may be used again, and that session renamed, too.
        let mut names = names.chain((2_u32..).map(|number| format!("{prefix}{id}.{number}")));
        // Also a link that leads nowhere is in the way.
        let is_free = |name: &String| sessions.join(name).symlink_metadata().is_err();
        let free = names.find(is_free).unwrap_or_default();
        let folder = sessions.join(free);
        fs::rename(self.session(id), &folder)?;
        Ok(folder)
    }

    /// Makes a session's empty folder.
    pub(crate) fn make_folder(&self, id: &SessionId) -> io::Result<()> {
        let folder = self.session(id);
        let make = || DirBuilder::new().mode(0o700).create(&folder);
        match make() {
            // A server that was killed before the session was accepted has left it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&folder)?;
                make()
            }
            made => made,
        }
    }

    /// Writes `session.json`, with which the session is accepted.
    pub(crate) fn accept(&self, file: &SessionFile) -> io::Result<()> {
        let folder = self.session(&file.id);
        // Empty without a prompt, so that a follower can open it before the first one.
        let mut journal = OpenOptions::new();
        sys::open_own(&folder.join(FILE_NAME), journal.append(true).create(true).mode(0o600))?;
        stage(&folder, file)?.commit()
    }

    /// Deletes a session: answers the folder that is still to be removed, if the session had one.
    pub(crate) fn delete(&self, id: &SessionId) -> io::Result<Option<PathBuf>> {
        match self.rename(id, DELETED) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            renamed => renamed.map(Some),
        }
    }
}

/// Whether a folder that was set aside was that of this session.
pub(crate) fn is_set_aside_of(folder: &Path, id: &SessionId) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let rest = name
        .strip_prefix(SET_ASIDE)
        .and_then(|name| name.strip_prefix(id.as_str()));
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.').is_some_and(is_number))
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok()
}

fn begins(entry: &fs::DirEntry, prefix: &str) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
}

/// Writes the next `session.json` of a session beside the one that is there.
pub(crate) fn stage(folder: &Path, file: &SessionFile) -> io::Result<StagedFile> {
    let mut value = serde_json::to_value(file)?;
    file.unknown.restore(&mut value);
    sys::stage_file(&folder.join("session.json"), &serde_json::to_vec(&value)?)
}

/// Reads a session's `session.json`; `Unsupported` where only a newer program can.
pub(crate) fn read(folder: &Path) -> io::Result<SessionFile> {
    let text = sys::read_own(&folder.join("session.json"), MAX_FILE)?;
    check_version(&text, VERSION)?;
    let (mut file, unknown) = parse::<SessionFile>(&text).map_err(file_error)?;
    file.unknown = unknown;
    Ok(file)
}

/// Removes a folder of a session that was deleted, or never reported as created.
pub(crate) fn remove(folder: &Path) {
    let removed = fs::remove_dir_all(folder).or_else(|_| {
        // An agent may have made folders that cannot be entered.
        make_accessible(folder);
        fs::remove_dir_all(folder)
    });
    if let Err(error) = removed {
        tracing::warn!(path = %folder.display(), %error, "a deleted session could not be removed; it is tried again at the next start");
    }
}

/// Makes a folder and all below it accessible for this user.
fn make_accessible(folder: &Path) {
    if fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).is_err() {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_accessible(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lock_of_a_server_keeps_others_out() {
        let folder = sys::TemporaryFolder::new("home").unwrap();
        let home = Home::open(&folder).unwrap();
        assert!(matches!(Home::open(&folder), Err(RuntimeError::HomeInUse { .. })));
        drop(home);
        assert!(Home::open(&folder).is_ok());
    }

    #[test]
    fn a_word_of_a_newer_version_is_no_damage() {
        let folder = sys::TemporaryFolder::new("newer-word").unwrap();
        let agent = ("shell".to_owned(), PathBuf::from("/"));
        let id = "one".parse().unwrap();
        let file = SessionFile::new(id, Timestamp::now(), agent, None, SessionRequest::default());
        fs::write(folder.join("session.json"), serde_json::to_vec(&file).unwrap()).unwrap();
        assert!(read(&folder).is_ok());
        let with = |name: &str, value: serde_json::Value| {
            let mut file = serde_json::to_value(&file).unwrap();
            file["request"][name] = value;
            fs::write(folder.join("session.json"), file.to_string()).unwrap();
            read(&folder).map_or_else(|error| error.kind(), |file| panic!("{file:?}"))
        };
        for (name, value) in [
            ("permission", json!("plan")),
            ("stdin", json!("pty")),
            ("retry", json!({ "max": 1, "delay": 1, "on": ["weather"] })),
            ("sinks", json!([{ "kind": "kafka", "url": "http://127.0.0.1:9/" }])),
            ("mcp_servers", json!({ "a": { "type": "quic", "url": "http://x/" } })),
        ] {
            assert_eq!(with(name, value), io::ErrorKind::Unsupported, "{name}");
        }
        assert_eq!(with("permission", json!(7)), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_folder_that_was_set_aside_names_its_session() {
        let is_of = |name: &str| is_set_aside_of(Path::new(name), &"a.b".parse().unwrap());
        assert!(is_of("/h/.forgotten-a.b") && is_of("/h/.forgotten-a.b.2"));
        assert!(!is_of("/h/.forgotten-a") && !is_of("/h/.forgotten-a.bc") && !is_of("/h/.forgotten-a.b.c"));
    }
}
