//! Deleting sessions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::runtime::blocking::run_blocking;
use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::stop::KEEPER_SLACK;
use crate::runtime::session::handle::Session;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::session::store::{self, Home};
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
    /// Held while a folder is removed.
    slot: Arc<Semaphore>,
}

impl Removal {
    pub(crate) fn new(home: Arc<Home>, registry: Arc<SessionRegistry>) -> Self {
        Self {
            home,
            registry,
            slot: Arc::new(Semaphore::new(1)),
        }
    }

    /// Stops what runs, then deletes the session and its journal. Of several callers one does it, and all wait for it.
    pub(crate) async fn delete(&self, session: &Arc<Session>) -> Result<(), RuntimeError> {
        let delete = async || {
            session.control.mark_deleted();
            let deleted = self.delete_marked(session).await;
            if deleted.is_err() {
                // It is still there, then, and may go on.
                session.control.unmark_deleted();
            }
            deleted
        };
        session.deleted.get_or_try_init(delete).await.copied()
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

    /// Whether there was one.
    async fn delete_folder(&self, id: &SessionId) -> Result<bool, RuntimeError> {
        let (home, id) = (Arc::clone(&self.home), id.clone());
        let delete = move || {
            home.delete(&id).map_err(|source| RuntimeError::Io {
                path: home.session(&id),
                source,
            })
        };
        let folder = run_blocking(delete).await?;
        Ok(folder.map(|folder| self.remove_later(folder)).is_some())
    }

    /// Removes what deleted sessions have left, because a former server did not come to it.
    pub(crate) fn remove_leftovers(&self) {
        match self.home.all_deleted() {
            Ok(folders) => folders.into_iter().for_each(|folder| self.remove_later(folder)),
            Err(error) => tracing::warn!(%error, "folders of deleted sessions cannot be listed, and stay"),
        }
    }

    /// Removes a folder in the background. A large one takes its time; one after another, they take one thread.
    fn remove_later(&self, folder: PathBuf) {
        let slot = Arc::clone(&self.slot);
        tokio::spawn(async move {
            let _slot = slot.acquire().await;
            let removed = tokio::task::spawn_blocking(move || store::remove(&folder)).await;
            if let Err(error) = removed {
                tracing::warn!(%error, "the folder of a deleted session is removed at the next start");
            }
        });
    }

    /// Ends all processes of a session whose folder cannot be used; answers how many survived.
    pub(crate) async fn stop_damaged(&self, id: &str) -> Result<u32, RuntimeError> {
        let folder = self.home.session(&parse(id)?);
        run_blocking(move || Ok(end_all_processes(&folder))).await
    }

    /// Deletes a session whose folder cannot be used, and ends what still runs in it.
    pub(crate) async fn delete_damaged(&self, id: &str) -> Result<(), RuntimeError> {
        self.stop_damaged(id).await?;
        let session = parse(id)?;
        let had_folder = self.delete_folder(&session).await?;
        // An agent may have removed the folder.
        let was_known = self.registry.remove_damaged(&session);
        if had_folder || was_known {
            Ok(())
        } else {
            Err(RuntimeError::SessionNotFound { id: id.to_owned() })
        }
    }
}

fn parse(id: &str) -> Result<SessionId, RuntimeError> {
    id.parse()
        .map_err(|_| RuntimeError::SessionNotFound { id: id.to_owned() })
}
