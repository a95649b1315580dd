//! A session's journal and the state that it makes; the only way to append to it from the server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::runtime::error::RuntimeError;
use promptd_journal::{FILE_NAME, ReadError, Reader, Writer, fold};
use promptd_model::{Body, Prompt, SessionState, TurnState, decode};

/// A thread waits no longer than this for the lock: whoever keeps it must not use up all threads.
const SHORT_LOCK_TIMEOUT: Duration = Duration::from_millis(50);

/// The journal.
#[derive(Debug)]
pub(crate) struct SessionJournal {
    folder: PathBuf,
    /// The state, and how far in the journal it reaches, in bytes.
    folded: Mutex<(u64, SessionState)>,
    /// The last state that was folded; changes whenever the journal was seen to have grown.
    snapshot: watch::Sender<Arc<SessionState>>,
}

impl SessionJournal {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            folded: Mutex::default(),
            snapshot: watch::Sender::default(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }

    /// The state, as last folded.
    pub(crate) fn state(&self) -> Arc<SessionState> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Changes with the state.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<SessionState>> {
        self.snapshot.subscribe()
    }

    /// How far the state reaches, in bytes of the journal.
    pub(crate) fn folded_to(&self) -> u64 {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner).0
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
        reader.check_length(*position)?;
        reader.set_position(*position);
        let result = fold(&mut reader, state);
        if *position != reader.position() {
            *position = reader.position();
            self.snapshot.send_replace(Arc::new(state.clone()));
        }
        result.map(|()| self.state())
    }

    /// Appends what `decide` makes of the state, while nobody else can append. Blocks for some seconds while another writer
    /// has the lock.
    pub(crate) fn transact<R>(
        &self,
        decide: impl FnOnce(&SessionState) -> (Vec<(u32, Body)>, R),
    ) -> Result<R, RuntimeError> {
        self.append(Writer::open(&self.folder)?, decide)
    }

    /// The same, but it waits for the lock only a moment.
    pub(crate) fn try_transact<R>(
        &self,
        decide: impl FnOnce(&SessionState) -> (Vec<(u32, Body)>, R),
    ) -> Result<R, RuntimeError> {
        self.append(
            Writer::open(&self.folder)?.with_lock_timeout(SHORT_LOCK_TIMEOUT),
            decide,
        )
    }

    fn append<R>(
        &self,
        mut writer: Writer,
        decide: impl FnOnce(&SessionState) -> (Vec<(u32, Body)>, R),
    ) -> Result<R, RuntimeError> {
        let mut batch = writer.lock(Timestamp::now())?;
        let state = self.refresh()?;
        let (bodies, result) = decide(&state);
        if !bodies.is_empty() {
            for (turn, body) in &bodies {
                batch.record(*turn, body)?;
            }
            batch.write()?;
            self.refresh()?;
        }
        Ok(result)
    }

    /// A turn's prompt, from where it was accepted.
    pub(crate) fn read_prompt(&self, turn: &TurnState) -> Result<Prompt, RuntimeError> {
        self.read_message(turn.prompt_seq)
    }

    /// A prompt, or a message for a turn that ran, from where it was accepted.
    pub(crate) fn read_message(&self, seq: u64) -> Result<Prompt, RuntimeError> {
        let mut reader = Reader::open(&self.folder)?;
        reader.seek(seq.saturating_sub(1))?;
        let mut line = Vec::new();
        while let Some(piece) = reader.read()? {
            let end = memchr::memchr(b'\n', &piece.bytes);
            line.extend_from_slice(piece.bytes.get(..end.unwrap_or(piece.bytes.len())).unwrap_or_default());
            if end.is_some() {
                break;
            }
        }
        match decode(&line).map(|record| record.body) {
            Some(Body::Prompt(prompt) | Body::Steer(prompt)) => Ok(prompt),
            Some(_) | None => Err(RuntimeError::SessionDamaged {
                id: name(&self.folder),
                reason: format!("record {seq} is no prompt"),
            }),
        }
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
