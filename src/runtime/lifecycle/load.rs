//! Loading the sessions of a home when the server starts.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use crate::runtime::keeper::client;
use crate::runtime::session::handle::Session;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::session::store::{self, Home};
use promptd_journal::{Reader, heads, is_lasting};
use promptd_keeper::{end_all_processes, has_processes};
use promptd_model::{Head, RecordKind};

/// Registers all sessions of the home. Answers those in which something is to be done, in the order in which they were
/// accepted.
pub(crate) fn load(home: &Home, registry: &SessionRegistry) -> io::Result<Vec<Arc<Session>>> {
    let mut unsettled = Vec::new();
    for folder in home.sessions()? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match store::read(&folder) {
            // Else one session could take the place of another.
            Ok(file) if file.id.as_str() != name => {
                give_up(
                    registry,
                    &folder,
                    name,
                    &format!("its session.json is that of session {}", file.id),
                );
            }
            Ok(file) => unsettled.extend(register(registry, Session::new(folder, file))),
            // A server was killed before it had accepted the session: no caller got an answer.
            Err(error) if error.kind() == ErrorKind::NotFound && !was_accepted(&folder) => store::remove(&folder),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                give_up(registry, &folder, name, "its session.json was removed");
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => registry.mark_newer(name, &error.to_string()),
            Err(error) if !is_lasting(&error) => registry.mark_damaged(name, &passing(&error)),
            Err(error) => give_up(registry, &folder, name, &error.to_string()),
        }
    }
    unsettled.sort_by_key(|session| session.state().current().map(|turn| turn.accepted_at));
    Ok(unsettled)
}

/// Registers one session; gives it back where something is to be done in it.
fn register(registry: &SessionRegistry, session: Session) -> Option<Arc<Session>> {
    let session = Arc::new(session);
    if let Err(error) = session.refresh() {
        if !error.is_lasting() {
            registry.mark_damaged(session.id().to_string(), &passing(&error.source));
            return None;
        }
        let reason = format!("{error}: {}", error.source);
        give_up(registry, &session.folder, session.id().to_string(), &reason);
        return None;
    }
    session.finish_creation(true);
    registry.insert(Arc::clone(&session));
    let is_unsettled = session.state().current().is_some() || !client::turns_with_files(&session.folder).is_empty();
    is_unsettled.then_some(session)
}

/// The disk or the machine failed, and not the session: what runs in it goes on.
fn passing(error: &io::Error) -> String {
    format!("it could not be read: {error}; its processes go on, and a restart of promptd tries again")
}

/// Reports a folder as damaged, and ends what still runs in it: nobody could follow it.
fn give_up(registry: &SessionRegistry, folder: &Path, name: String, reason: &str) {
    registry.mark_damaged(name, reason);
    let folder = folder.to_owned();
    // It can take seconds, and the other sessions do not wait for it.
    tokio::task::spawn_blocking(move || {
        let survivors = end_all_processes(&folder);
        if survivors > 0 {
            tracing::error!(path = %folder.display(), survivors, "some processes of a damaged session cannot be ended");
        }
    });
}

/// Whether the session of a folder without `session.json` was once accepted: it has more than the prompt, which is written
/// before that file, or something runs in it. What cannot be read is not removed, either.
fn was_accepted(folder: &Path) -> bool {
    let has_more = || {
        let mut reader = Reader::open(folder)?;
        while let Some(piece) = reader.read()? {
            let is_first_prompt = |head: Head<'_>| head.seq == 1 && head.kind == RecordKind::Other("prompt");
            let mut heads = heads(&piece);
            let begins_with_it = !piece.starts_line || heads.next().is_some_and(is_first_prompt);
            if !begins_with_it || heads.next().is_some() {
                return Ok(true);
            }
        }
        Ok::<_, promptd_journal::ReadError>(false)
    };
    let has_more = has_more().unwrap_or_else(|error| error.source.kind() != ErrorKind::NotFound);
    has_more || has_processes(folder)
}
