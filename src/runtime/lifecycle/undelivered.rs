//! Sessions that were deleted before every sink had them: one `gap` record is left of each, for its sinks.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::runtime::delivery::service::SinkDelivery;
use crate::runtime::session::handle::Session;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::session::store::{self, Home};
use promptd_journal::{FILE_NAME, reset_journal};
use promptd_model::{Body, Gap};
use promptd_sys as sys;

/// What is left of such sessions.
#[derive(Debug)]
pub(crate) struct Undelivered {
    home: Arc<Home>,
    registry: Arc<SessionRegistry>,
    delivery: Arc<SinkDelivery>,
    sessions: Mutex<Vec<Arc<Session>>>,
}

impl Undelivered {
    pub(crate) fn new(home: Arc<Home>, registry: Arc<SessionRegistry>, delivery: Arc<SinkDelivery>) -> Self {
        Self {
            home,
            registry,
            delivery,
            sessions: Mutex::default(),
        }
    }

    /// What is left, and not yet reported to every sink.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Deletes the records of a closed session whose sinks are behind, and reports to each sink what it will never get.
    pub(crate) fn delete(&self, session: &Session) -> io::Result<()> {
        let folder = self.home.set_aside(session.id())?;
        session.sink_workers.close();
        self.registry.remove(session.id());
        let (bytes, last) = (sys::folder_bytes(&folder).unwrap_or(0), session.state().last_seq);
        let gap = Body::Gap(Gap {
            stream: "journal".to_owned(),
            bytes,
            reason: format!("the disk limit was reached: records up to {last} were deleted before every sink had them"),
            to: None,
        });
        let begin = || reset_journal(&folder, last.saturating_add(1), Timestamp::now(), &gap);
        begin().or_else(|_| {
            // Not even room for this one record, so the others have to be removed first.
            sys::open_own(&folder.join(FILE_NAME), File::options().write(true).truncate(true))?;
            begin()
        })?;
        self.report(Arc::new(Session::new(folder, session.file.clone())));
        Ok(())
    }

    /// Finds what a former server left, and continues to report it.
    pub(crate) fn load(&self) -> io::Result<()> {
        for folder in self.home.all_set_aside()? {
            match store::read(&folder) {
                Ok(file) if !store::is_set_aside_of(&folder, &file.id) => {
                    tracing::warn!(path = %folder.display(), session = %file.id, "what is left of a deleted session names another one");
                    store::remove(&folder);
                }
                Ok(file) => self.report(Arc::new(Session::new(folder, file))),
                // Another version goes on with it.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(error) => {
                    tracing::warn!(path = %folder.display(), %error, "what is left of a deleted session cannot be read");
                    store::remove(&folder);
                }
            }
        }
        Ok(())
    }

    fn report(&self, session: Arc<Session>) {
        if let Err(error) = session.refresh() {
            tracing::warn!(session = %session.id(), %error, "what is left of a deleted session cannot be read");
        }
        self.delivery.deliver(&session);
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(session);
    }

    /// Removes what has been reported to all sinks.
    pub(crate) fn remove_reported(&self) {
        let mut reported = self.all();
        reported.retain(|session| session.sink_workers.undelivered(session.state().last_seq).is_empty());
        for session in &reported {
            session.sink_workers.close();
            store::remove(&session.folder);
        }
        let is_reported = |session: &Arc<Session>| reported.iter().any(|other| Arc::ptr_eq(session, other));
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| !is_reported(session));
    }
}
