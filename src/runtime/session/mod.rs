//! One session: its folder, its state, and the only way to append to its journal from the server.

pub(crate) mod create;
mod forgotten;
pub(crate) mod retention;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::runtime::secrets::file_secrets::FileSecrets;
use crate::runtime::secrets::masks::SessionMask;
use crate::runtime::session::store::SessionFile;
use crate::runtime::turn::supervisor::Tender;
use crate::runtime::{RuntimeError, on_a_thread};
use promptd_journal::{FILE_NAME, ReadError, Reader, Writer, fold};
use promptd_model::{Body, Cause, SessionId, SessionRequest, SessionState, SinkRequest};
use promptd_sinks::SinkWorkers;

/// A session.
#[derive(Debug)]
pub struct Session {
    pub(crate) folder: PathBuf,
    pub(crate) file: SessionFile,
    /// The state, and how far in the journal it reaches.
    folded: Mutex<(u64, SessionState)>,
    /// The last state that was folded; changes whenever the journal was seen to have grown.
    snapshot: watch::Sender<Arc<SessionState>>,
    /// Whether it is on the disk; `None` while it is being put there.
    made: watch::Sender<Option<bool>>,
    pub(crate) duties: Mutex<Duties>,
    /// Its own sinks: those of its request, or what `POST /execute` said since.
    own_sinks: RwLock<Arc<Vec<SinkRequest>>>,
    /// All its sinks, and how far each is.
    pub(crate) sink_workers: SinkWorkers,
    pub(crate) mask: SessionMask,
    /// Secrets that stood in files.
    pub(crate) file_secrets: FileSecrets,
    /// A caller wants something of the running turn that does not stand in its journal.
    pub(crate) stirred: Notify,
}

/// What the server does for a session just now.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    /// A task drives the session's turns.
    pub driven: bool,
    /// The turn whose keeper has been, or is just about to be, started, though its journal does not say so yet.
    pub starting: Option<u32>,
    /// Turns up to this one were ended by a caller, whether or not the journal could be told.
    pub ended: Option<(u32, Cause)>,
    /// Who sees to it that a turn with living processes has a keeper.
    pub tenders: BTreeMap<u32, Arc<Tender>>,
    /// The session is being deleted: nothing may start.
    pub deleted: bool,
}

impl Duties {
    /// Why a caller ended a turn, if one did.
    pub(crate) fn ended_by(&self, turn: u32) -> Option<Cause> {
        self.ended
            .filter(|(through, _)| turn <= *through)
            .map(|(_, cause)| cause)
    }

    /// A caller ended this turn, if none is known to have done so.
    pub(crate) fn ended_unless_known(&mut self, turn: u32, cause: Cause) {
        if self.ended_by(turn).is_none() {
            self.ended = Some((turn, cause));
        }
    }
}

impl Session {
    pub(crate) fn new(folder: PathBuf, file: SessionFile) -> Self {
        let (snapshot, _) = watch::channel(Arc::default());
        Self {
            own_sinks: RwLock::new(Arc::new(file.request.sinks.clone())),
            folder,
            file,
            folded: Mutex::default(),
            snapshot,
            made: watch::Sender::new(None),
            duties: Mutex::default(),
            sink_workers: SinkWorkers::default(),
            mask: SessionMask::default(),
            file_secrets: FileSecrets::default(),
            stirred: Notify::new(),
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

    /// The state.
    pub fn state(&self) -> Arc<SessionState> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// The state, as new as the journal is now: who has just read a record must not see an older state. An error
    /// leaves the last one that is known.
    pub fn latest(&self) -> Arc<SessionState> {
        let in_motion = self.duties().driven;
        let refreshed = in_motion.then(|| self.refresh().ok()).flatten();
        refreshed.unwrap_or_else(|| self.state())
    }

    /// Its own sinks.
    pub(crate) fn own_sinks(&self) -> Arc<Vec<SinkRequest>> {
        Arc::clone(&self.own_sinks.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives it other sinks of its own; on the disk first.
    pub(crate) fn put_sinks(&self, sinks: Vec<SinkRequest>) -> std::io::Result<()> {
        let mut own_sinks = self.own_sinks.write().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.file.clone();
        file.request.sinks.clone_from(&sinks);
        store::replace(&self.folder, &file)?;
        *own_sinks = Arc::new(sinks);
        // Their keys are secrets, too.
        self.mask.forget();
        Ok(())
    }

    /// Whether nothing will be written before somebody asks for something.
    pub(crate) fn is_at_rest(&self) -> bool {
        let duties = self.duties();
        !duties.driven && duties.tenders.is_empty() && self.state().current().is_none()
    }

    /// Tells when the state changes.
    pub fn changes(&self) -> watch::Receiver<Arc<SessionState>> {
        self.snapshot.subscribe()
    }

    pub(crate) fn set_made(&self, made: bool) {
        self.made.send_replace(Some(made));
    }

    /// Whether it is on the disk by now: before, nobody but its maker knows of it.
    pub(crate) fn was_made(&self) -> bool {
        *self.made.borrow() == Some(true)
    }

    /// Waits until the session is on the disk; false when it could not be put there.
    pub(crate) async fn is_made(&self) -> bool {
        let mut made = self.made.subscribe();
        // The sender lives in self, so it cannot be closed.
        made.wait_for(Option::is_some)
            .await
            .is_ok_and(|made| *made == Some(true))
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }

    pub(crate) fn duties(&self) -> std::sync::MutexGuard<'_, Duties> {
        self.duties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds in what the journal has gained.
    pub(crate) fn refresh(&self) -> Result<Arc<SessionState>, ReadError> {
        let mut folded = self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        let (position, state) = &mut *folded;
        let mut reader = match Reader::open(&self.folder) {
            Ok(reader) => reader,
            // No record has been written yet.
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound && *position == 0 => {
                return Ok(self.state());
            }
            Err(error) => return Err(error),
        };
        reader.set_position(*position);
        let result = fold(&mut reader, state);
        if *position != reader.position() {
            *position = reader.position();
            self.snapshot.send_replace(Arc::new(state.clone()));
        }
        result.map(|()| self.state())
    }

    /// How far the state reaches, in bytes of the journal.
    pub(crate) fn folded_to(&self) -> u64 {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Appends what `decide` makes of the state, while nobody else can append: what it saw still holds when it
    /// is written.
    ///
    /// Runs on a thread of its own, because a writer that holds the lock may take its time.
    pub(crate) async fn transact<R: Send + 'static>(
        self: &Arc<Self>,
        decide: impl FnOnce(&Self, &SessionState) -> (Vec<(u32, Body)>, R) + Send + 'static,
    ) -> Result<R, RuntimeError> {
        let session = Arc::clone(self);
        on_a_thread(move || session.transact_here(decide)).await
    }

    /// The same on the caller's thread, which must be one that may wait.
    pub(crate) fn transact_here<R>(
        &self,
        decide: impl FnOnce(&Self, &SessionState) -> (Vec<(u32, Body)>, R),
    ) -> Result<R, RuntimeError> {
        let mut writer = Writer::open(&self.folder)?;
        let mut batch = writer.lock(Timestamp::now())?;
        let state = self.refresh()?;
        let (bodies, result) = decide(self, &state);
        if !bodies.is_empty() {
            for (turn, body) in &bodies {
                batch.record(*turn, body)?;
            }
            batch.write()?;
            self.refresh()?;
        }
        Ok(result)
    }
}
