//! One session, as the server holds it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, OnceCell, Semaphore, watch};
use tokio::time::Instant;

use crate::runtime::blocking::run_blocking;
use crate::runtime::delivery::sinks;
use crate::runtime::error::RuntimeError;
use crate::runtime::secrets::file_secrets::FileSecrets;
use crate::runtime::secrets::session_masker::SessionMasker;
use crate::runtime::session::control::SessionControl;
use crate::runtime::session::journal::SessionJournal;
use crate::runtime::session::own_sinks::OwnSinks;
use crate::runtime::session::store::{self, SessionFile};
use promptd_journal::{ReadError, WriteError};
use promptd_keeper::end_lock_holders;
use promptd_model::{Body, SessionId, SessionRequest, SessionState, SinkRequest};
use promptd_sinks::SinkWorkers;
use promptd_sys::StagedFile;

/// How long an operation waits for a process that keeps the journal locked.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a process of an agent may keep it locked.
const LOCK_HOLDER_TIMEOUT: Duration = Duration::from_secs(2);

const LOCK_RETRY: Duration = Duration::from_millis(50);

/// A session.
#[derive(Debug)]
pub struct Session {
    pub(crate) folder: PathBuf,
    pub(crate) file: SessionFile,
    pub(crate) journal: SessionJournal,
    pub(crate) control: SessionControl,
    pub(crate) own_sinks: OwnSinks,
    /// All its sinks, and how far each is.
    pub(crate) sink_workers: SinkWorkers,
    pub(crate) masker: SessionMasker,
    pub(crate) file_secrets: FileSecrets,
    /// A caller wants something of the running turn that is not in its journal.
    pub(crate) wake_turn: Notify,
    /// Set when it is deleted; several callers may want that at the same time.
    pub(crate) deleted: OnceCell<()>,
    /// Whether it is on the disk; `None` while it is being put there.
    created: watch::Sender<Option<bool>>,
    /// One permit: who has it may append.
    writing: Semaphore,
}

/// Own sinks of a session that are on the disk, but not in force.
pub(crate) struct StagedSinks {
    sinks: Vec<SinkRequest>,
    file: StagedFile,
}

impl Session {
    pub(crate) fn new(folder: PathBuf, file: SessionFile) -> Self {
        Self {
            journal: SessionJournal::new(folder.clone()),
            control: SessionControl::default(),
            own_sinks: OwnSinks::new(file.request.sinks.clone()),
            sink_workers: SinkWorkers::default(),
            masker: SessionMasker::default(),
            file_secrets: FileSecrets::new(&folder),
            wake_turn: Notify::new(),
            deleted: OnceCell::new(),
            created: watch::Sender::new(None),
            writing: Semaphore::new(1),
            folder,
            file,
        }
    }

    /// The id.
    pub fn id(&self) -> &SessionId {
        &self.file.id
    }

    /// When it was accepted.
    pub fn created_at(&self) -> Timestamp {
        self.file.created_at
    }

    /// What was asked for, without the prompt.
    pub fn request(&self) -> &SessionRequest {
        &self.file.request
    }

    /// The agent's name, after defaults.
    pub fn agent(&self) -> &str {
        &self.file.agent
    }

    /// The working directory.
    pub fn cwd(&self) -> &Path {
        &self.file.cwd
    }

    /// The folder that was made for this session only, if it wanted one. It works in it, or in its repository there.
    pub(crate) fn own_folder(&self) -> Option<&Path> {
        self.file.own_folder.as_deref()
    }

    /// The state.
    pub fn state(&self) -> Arc<SessionState> {
        self.journal.state()
    }

    /// The state, as new as the journal is now: a caller that has just read a record must not see an older state. After an
    /// error it is the last known state.
    pub fn latest(&self) -> Arc<SessionState> {
        let refreshed = self.control.is_driven().then(|| self.refresh().ok()).flatten();
        refreshed.unwrap_or_else(|| self.state())
    }

    /// The agent's own id for its session: as the journal has it, else as the agent that runs has reported it.
    pub(crate) fn agent_session_id(&self, state: &SessionState) -> Option<String> {
        let known = state.agent_session_id().map(str::to_owned);
        known.or_else(|| self.control.agent_session(state.current()?.turn))
    }

    /// Changes with the state.
    pub fn changes(&self) -> watch::Receiver<Arc<SessionState>> {
        self.journal.changes()
    }

    /// Folds in what the journal has gained.
    pub(crate) fn refresh(&self) -> Result<Arc<SessionState>, ReadError> {
        self.journal.refresh()
    }

    /// A number that changes with the session's own secrets.
    pub(crate) fn secrets_generation(&self) -> u64 {
        // Both only grow, so their sum changes with each.
        self.file_secrets.generation().wrapping_add(self.own_sinks.generation())
    }

    /// Whether nothing will be written before somebody asks for something.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.control.is_busy() && self.state().current().is_none()
    }

    /// Whether a turn has begun and not ended, and does not wait for its next attempt.
    pub(crate) fn has_running_turn(&self) -> bool {
        let state = self.state();
        state.current().is_some_and(|turn| !turn.is_waiting())
    }

    pub(crate) fn finish_creation(&self, succeeded: bool) {
        self.created.send_replace(Some(succeeded));
    }

    /// Whether it is on the disk by now: before, only its creator knows of it.
    pub(crate) fn is_created(&self) -> bool {
        *self.created.borrow() == Some(true)
    }

    /// Waits until the session is on the disk; false when it could not be put there.
    pub(crate) async fn wait_until_created(&self) -> bool {
        let mut created = self.created.subscribe();
        // The sender lives in self, so it cannot be closed.
        let created = created.wait_for(Option::is_some).await;
        created.is_ok_and(|created| *created == Some(true))
    }

    /// Refuses a sink that it cannot have.
    pub(crate) fn check_sink(&self, sink: &SinkRequest) -> Result<(), RuntimeError> {
        sinks::with(&self.own_sinks.get(), sink).map(drop)
    }

    /// Writes one more own sink to the disk, beside what is in force; `None` if it has that one. To be called while nobody
    /// else can append.
    pub(crate) fn stage_sink(&self, sink: &SinkRequest) -> Result<Option<StagedSinks>, RuntimeError> {
        let own = self.own_sinks.get();
        let Some(sinks) = sinks::with(&own, sink)? else {
            return Ok(None);
        };
        // The journal may show the key of a sink that is replaced now.
        self.file_secrets.add_sinks(&own)?;
        let mut file = self.file.clone();
        file.request.sinks.clone_from(&sinks);
        let staged = store::stage(&self.folder, &file).map_err(|source| RuntimeError::Io {
            path: self.folder.clone(),
            source,
        })?;
        Ok(Some(StagedSinks { sinks, file: staged }))
    }

    /// Puts staged sinks into force.
    pub(crate) fn commit_sinks(&self, staged: StagedSinks) {
        if let Err(error) = staged.file.commit() {
            // What they were staged for is accepted by now, so they count.
            tracing::error!(session = %self.id(), %error, "a session's new sinks are in force, but the next server will not know them");
        }
        self.own_sinks.set(staged.sinks);
    }

    /// Appends what `decide` makes of the state, while nobody else can append: what it saw still holds when it is
    /// written.
    ///
    /// Runs on a thread of its own, because another writer may hold the lock for a while. A process that keeps the lock is
    /// waited for without a thread, and for [`LOCK_TIMEOUT`] at most.
    pub(crate) async fn transact<R: Send + 'static>(
        self: &Arc<Self>,
        decide: impl FnOnce(&Self, &SessionState) -> (Vec<(u32, Body)>, R) + Send + 'static,
    ) -> Result<R, RuntimeError> {
        self.transact_and(decide, |_, result| result).await
    }

    /// The same, and then what follows from it, before this server appends anything else.
    pub(crate) async fn transact_and<R: Send + 'static, T: Send + 'static>(
        self: &Arc<Self>,
        decide: impl FnOnce(&Self, &SessionState) -> (Vec<(u32, Body)>, R) + Send + 'static,
        then: impl FnOnce(&Self, R) -> T + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let begun = Instant::now();
        let locked = || {
            RuntimeError::Write(WriteError::Locked {
                path: self.journal.path(),
            })
        };
        // One after the other: else a thousand callers would try for the lock at once, each on a thread.
        let waited = tokio::time::timeout(LOCK_TIMEOUT, self.writing.acquire()).await;
        let _turn = waited.map_err(|_| locked())?;
        let mut steps = (decide, then);
        loop {
            let session = Arc::clone(self);
            let tried = run_blocking(move || {
                let (decide, then) = steps;
                let mut decide = Some(decide);
                let tried = session.journal.try_transact(|state| {
                    // It is called at most once.
                    decide
                        .take()
                        .map(|decide| decide(&session, state))
                        .map_or_else(|| (Vec::new(), None), |(bodies, result)| (bodies, Some(result)))
                });
                match (tried, decide) {
                    (Ok(Some(result)), _) => Ok(Ok(then(&session, result))),
                    (Err(RuntimeError::Write(WriteError::Locked { .. })), Some(decide)) => {
                        Ok(Err(Some((decide, then))))
                    }
                    (Err(error), _) => Err(error),
                    (Ok(None), _) => Ok(Err(None)),
                }
            });
            steps = match tried.await? {
                Ok(result) => return Ok(result),
                Err(again) => again.ok_or_else(locked)?,
            };
            if begun.elapsed() > LOCK_TIMEOUT {
                return Err(locked());
            }
            if begun.elapsed() > LOCK_HOLDER_TIMEOUT {
                self.end_lock_holders().await?;
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }

    /// Ends processes of agents that keep the journal locked.
    async fn end_lock_holders(&self) -> Result<(), RuntimeError> {
        let path = self.journal.path();
        let ended = run_blocking(move || Ok(end_lock_holders(&path))).await?;
        if ended > 0 {
            tracing::warn!(session = %self.id(), ended, "processes of an agent kept the journal locked, and were ended");
        }
        Ok(())
    }
}
