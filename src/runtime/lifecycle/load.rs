//! Loading the sessions of a home when the server starts.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::runtime::keeper::client;
use crate::runtime::session::handle::Session;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::session::store::{self, Home};

/// Registers all sessions of the home. Answers those in which something is to be done, in the order in which they were
/// accepted.
pub(crate) fn load(home: &Home, registry: &SessionRegistry) -> io::Result<Vec<Arc<Session>>> {
    let mut unsettled = Vec::new();
    for folder in home.sessions()? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match store::read(&folder) {
            Ok(file) => unsettled.extend(register(registry, Session::new(folder, file))),
            // A server was killed before it had accepted the session: no caller got an answer.
            Err(error) if error.kind() == ErrorKind::NotFound => store::remove(&folder),
            Err(error) if error.kind() == ErrorKind::Unsupported => registry.mark_newer(name, &error.to_string()),
            Err(error) => registry.mark_damaged(name, &error.to_string()),
        }
    }
    unsettled.sort_by_key(|session| session.state().current().map(|turn| turn.accepted_at));
    Ok(unsettled)
}

/// Registers one session; gives it back where something is to be done in it.
fn register(registry: &SessionRegistry, session: Session) -> Option<Arc<Session>> {
    let session = Arc::new(session);
    if let Err(error) = session.refresh() {
        registry.mark_damaged(session.id().to_string(), &format!("{error}: {}", error.source));
        return None;
    }
    session.finish_creation(true);
    registry.insert(Arc::clone(&session));
    let is_unsettled = session.state().current().is_some() || !client::turns_with_files(&session.folder).is_empty();
    is_unsettled.then_some(session)
}
