//! Sessions that had to go before every sink had them: what is left of each is one `gap` record, for its sinks.

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;

use crate::runtime::Runtime;
use crate::runtime::session::Session;
use crate::runtime::session::store;
use promptd_journal::{FILE_NAME, reset_journal};
use promptd_model::{Body, Gap};
use promptd_sys as sys;

impl Runtime {
    /// Gives a closed session up whose sinks are behind: nobody finds it any more, its records are deleted, and
    /// each sink is told what it will never have.
    pub(crate) fn give_up(self: &Arc<Self>, session: &Session) -> io::Result<()> {
        let folder = self.home.set_aside(session.id())?;
        session.sink_workers.close();
        self.forget(session);
        let (bytes, last) = (sys::folder_bytes(&folder).unwrap_or(0), session.state().last_seq);
        let gap = Body::Gap(Gap {
            stream: "journal".to_owned(),
            bytes,
            reason: format!("the disk limit was reached: records up to {last} were deleted before every sink had them"),
            to: None,
        });
        let begin = || reset_journal(&folder, last.saturating_add(1), Timestamp::now(), &gap);
        begin().or_else(|_| {
            // Not even room for this one record, so that what is given up has to go first.
            File::create(folder.join(FILE_NAME))?;
            begin()
        })?;
        self.tell_of(Arc::new(Session::new(folder, session.file.clone())));
        Ok(())
    }

    /// Has the sinks of a session that was given up told of it.
    fn tell_of(self: &Arc<Self>, session: Arc<Session>) {
        if let Err(error) = session.refresh() {
            tracing::warn!(session = %session.id(), %error, "what is left of a forgotten session cannot be read");
        }
        self.deliver(&session);
        let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.push(session);
    }

    /// Finds what a former server gave up, and tells on.
    pub(crate) fn load_forgotten(self: &Arc<Self>) -> io::Result<()> {
        for folder in self.home.set_aside_before()? {
            match store::read(&folder) {
                Ok(file) => self.tell_of(Arc::new(Session::new(folder, file))),
                Err(error) => {
                    tracing::warn!(path = %folder.display(), %error, "what is left of a forgotten session cannot be read");
                    store::remove(&folder);
                }
            }
        }
        Ok(())
    }

    /// Removes what all sinks have been told of.
    pub(crate) fn remove_told(&self) {
        let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.retain(|session| {
            let told = session.sink_workers.undelivered(session.state().last_seq).is_empty();
            if told {
                session.sink_workers.close();
                store::remove(&session.folder);
            }
            !told
        });
    }
}
