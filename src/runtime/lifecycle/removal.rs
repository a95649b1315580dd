//! Deleting sessions.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::blocking::run_blocking;
use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::stop::KEEPER_SLACK;
use crate::runtime::session::handle::Session;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::session::store::Home;
use crate::runtime::turn::stop::stop;
use promptd_keeper::end_all_processes;
use promptd_model::SessionId;

/// A session that is deleted right after its end may still be delivering its last batch.
const LAST_BATCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What deletes sessions.
#[derive(Debug)]
pub(crate) struct Removal {
    home: Arc<Home>,
    registry: Arc<SessionRegistry>,
}

impl Removal {
    pub(crate) fn new(home: Arc<Home>, registry: Arc<SessionRegistry>) -> Self {
        Self { home, registry }
    }

    /// Stops what runs, then deletes the session and its journal.
    pub(crate) async fn delete(&self, session: &Arc<Session>) -> Result<(), RuntimeError> {
        session.control.mark_deleted();
        let deleted = self.delete_marked(session).await;
        if deleted.is_err() {
            // It is still there, then, and may go on.
            session.control.unmark_deleted();
        }
        deleted
    }

    async fn delete_marked(&self, session: &Arc<Session>) -> Result<(), RuntimeError> {
        match stop(session, Duration::ZERO).await {
            // A full disk, or a journal that cannot be read any more, is a reason to delete, not one against it.
            Err(RuntimeError::Write(_) | RuntimeError::Read(_)) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        for keeper in session.control.keepers() {
            // A process that cannot be killed keeps its keeper, but not its session.
            let _ended = tokio::time::timeout(KEEPER_SLACK, keeper.tree_ended()).await;
        }
        let refreshed = Arc::clone(session);
        let last_seq = run_blocking(move || Ok(refreshed.refresh().map_or(0, |state| state.last_seq))).await?;
        session.sink_workers.wait_delivered(last_seq, LAST_BATCH_TIMEOUT).await;
        session.sink_workers.close();
        self.delete_folder(session.id()).await?;
        self.registry.remove(session.id());
        Ok(())
    }

    /// Deletes a folder, which may hold a gigabyte.
    async fn delete_folder(&self, id: &SessionId) -> Result<(), RuntimeError> {
        let (home, id) = (Arc::clone(&self.home), id.clone());
        run_blocking(move || match home.delete(&id) {
            // Somebody has removed the folder already.
            Err(source) if source.kind() != ErrorKind::NotFound => {
                let path = home.session(&id);
                Err(RuntimeError::Io { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        })
        .await
    }

    /// Ends all processes of a session whose folder cannot be used; answers how many survived.
    pub(crate) async fn stop_damaged(&self, id: &str) -> Result<u32, RuntimeError> {
        let folder = self.home.session(&parse(id)?);
        run_blocking(move || Ok(end_all_processes(&folder))).await
    }

    /// Deletes a session whose folder cannot be used, and ends what still runs in it.
    pub(crate) async fn delete_damaged(&self, id: &str) -> Result<(), RuntimeError> {
        self.stop_damaged(id).await?;
        let id = parse(id)?;
        self.delete_folder(&id).await?;
        self.registry.remove_damaged(&id);
        Ok(())
    }
}

fn parse(id: &str) -> Result<SessionId, RuntimeError> {
    id.parse()
        .map_err(|_| RuntimeError::SessionNotFound { id: id.to_owned() })
}
