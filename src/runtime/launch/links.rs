//! Links in agents' homes to workspace configuration files: made for a turn, and removed after it.
//!
//! A home is shared. A link that stayed would show one session's skills, instructions or configuration to the next one in
//! place of its own. So each link is recorded with the turns that use it, and removed after the last of them. A file that
//! somebody else has put in its place stays.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::runtime::error::RuntimeError;
use promptd_agents::Link;
use promptd_model::SessionId;
use promptd_sys as sys;

/// The file's name in promptd's home.
const FILE_NAME: &str = "links.json";

/// All links of one server.
#[derive(Debug)]
pub(crate) struct Links {
    path: PathBuf,
    made: Mutex<Vec<RecordedLink>>,
}

/// A link, and who uses it: sessions, each with its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RecordedLink {
    at: PathBuf,
    to: PathBuf,
    users: Vec<(SessionId, u32)>,
    /// What a newer version has written, too.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RecordedLink {
    fn is_there(&self) -> bool {
        fs::read_link(&self.at).is_ok_and(|to| to == self.to)
    }
}

/// The largest file of links.
const MAX_FILE: u64 = 16 << 20;

impl Links {
    /// Reads the links that a former server left.
    pub(crate) fn read(home: &Path) -> Self {
        let path = home.join(FILE_NAME);
        let made = match sys::read_own(&path, MAX_FILE) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::error!(path = %path.display(), %error, "links in homes are unknown, and stay there");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Self {
            path,
            made: Mutex::new(made),
        }
    }

    /// Whether what is there is a link of ours.
    pub(crate) fn has(&self, at: &Path) -> bool {
        self.lock().iter().any(|made| made.at == at && made.is_there())
    }

    /// Makes the links of a turn, but not where something exists: of two turns that need different links, the first
    /// counts.
    pub(crate) fn make(&self, links: &[&Link], session: &SessionId, turn: u32) -> Result<(), RuntimeError> {
        if links.is_empty() {
            return Ok(());
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RuntimeError::Io { path, source }
        };
        let mut made = self.lock();
        release(&mut made, |user| user.0 == *session);
        for Link { at, to } in links {
            let user = (session.clone(), turn);
            match made.iter_mut().find(|made| made.at == *at && made.is_there()) {
                Some(known) if known.to == *to => {
                    known.users.push(user);
                    continue;
                }
                Some(known) => {
                    tracing::warn!(
                        session = %session, at = %at.display(), to = %known.to.display(), wanted = %to.display(),
                        "another session's turn needs this link, so that this turn goes without"
                    );
                    continue;
                }
                None if at.is_symlink() || at.exists() => continue,
                None => {}
            }
            made.retain(|made| made.at != *at);
            made.push(RecordedLink {
                at: at.clone(),
                to: to.clone(),
                users: vec![user],
                unknown: Map::new(),
            });
            // Recorded first: a link that is not recorded would stay.
            self.save(&made).map_err(failed(&self.path))?;
            if let Some(folder) = at.parent() {
                fs::create_dir_all(folder).map_err(failed(folder))?;
            }
            match symlink(to, at) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(at)(error)),
                Ok(()) | Err(_) => {}
            }
        }
        self.save(&made).map_err(failed(&self.path))
    }

    /// Removes what only turns up to this one needed.
    pub(crate) fn release(&self, session: &SessionId, through: u32) {
        self.release_where(|(user, turn)| user == session && *turn <= through);
    }

    /// Removes what no turn of these sessions needs.
    pub(crate) fn retain(&self, sessions: impl Fn(&SessionId) -> bool) {
        self.release_where(|(session, _)| !sessions(session));
    }

    fn release_where(&self, is_done: impl Fn(&(SessionId, u32)) -> bool) {
        let mut made = self.lock();
        if !made.iter().flat_map(|made| &made.users).any(&is_done) {
            return;
        }
        release(&mut made, is_done);
        if let Err(error) = self.save(&made) {
            // The next change writes it.
            tracing::warn!(path = %self.path.display(), %error, "the links in homes could not be recorded");
        }
    }

    fn save(&self, made: &[RecordedLink]) -> io::Result<()> {
        sys::replace_file(&self.path, &serde_json::to_vec(made)?)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordedLink>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes users, and links without users.
fn release(made: &mut Vec<RecordedLink>, is_done: impl Fn(&(SessionId, u32)) -> bool) {
    made.retain_mut(|made| {
        made.users.retain(|user| !is_done(user));
        if made.users.is_empty() && made.is_there() {
            // Somebody may have removed it already.
            let _removed = fs::remove_file(&made.at);
        }
        !made.users.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_a_newer_version_stay() {
        let home = sys::TemporaryFolder::new("links").unwrap();
        let link =
            |session: &str| json!({ "at": home.join(session), "to": "/nowhere", "users": [[session, 1]], "mode": "x" });
        let written = json!([link("one"), link("two")]).to_string();
        fs::write(home.join(FILE_NAME), written).unwrap();
        let links = Links::read(&home);
        links.release(&"one".parse().unwrap(), 1);
        let left: Value = serde_json::from_slice(&fs::read(home.join(FILE_NAME)).unwrap()).unwrap();
        assert_eq!(left, json!([link("two")]));
    }
}
