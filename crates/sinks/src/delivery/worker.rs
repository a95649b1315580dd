//! The worker of one sink of one session: wait, cut a batch, try it until it is accepted, move on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::shared::Delivery;
use super::state::{SinkSlot, SinkState};
use crate::batch::Cursor;
use crate::http::PAUSE;
use crate::sink::Sink;
use crate::source::{SessionInfo, Source};
use promptd_model::SessionState;

/// How long to wait after a cursor could not be read, for example without free descriptors.
const READ_RETRY_DELAY: Duration = Duration::from_secs(1);

/// For a kind with a minimum interval, each batch costs more than the one before. Its workers send for at most one in
/// this many seconds.
const INTERVAL_FACTOR: u32 = 4;

/// Records that are written within this time go into one batch.
const BATCH_WINDOW: Duration = Duration::from_millis(250);

/// Delivers until everything is delivered and the session is at rest.
pub(super) async fn run(delivery: Arc<Delivery>, source: Arc<dyn Source>, slot: Arc<SinkSlot>) {
    let cursor = read_cursor(&slot).await;
    let mut worker = Worker {
        info: source.info(),
        scanned: cursor.seq,
        cursor,
        dirty: false,
        at_end: true,
        held: false,
        failures: 0,
        failed_in: None,
        partly_sent: None,
        last_batch: None,
        batch_duration: Duration::ZERO,
        changes: source.changes(),
        retry_now: delivery.retry_now.subscribe(),
        disconnect: delivery.disconnect.subscribe(),
        shutdown: delivery.shutdown.subscribe(),
        delivery,
        source,
        slot,
    };
    while worker.wait_for_records().await {
        if let Err(failure) = worker.attempt().await {
            worker.wait_after(failure).await;
        }
    }
}

/// Reads the cursor. A damaged one is a cursor at the start; one that cannot be read now is read again.
async fn read_cursor(slot: &SinkSlot) -> Cursor {
    loop {
        let file = Arc::clone(&slot.file);
        let read = tokio::task::spawn_blocking(move || Cursor::read(file.path())).await;
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(cursor) => return cursor,
            // From the start, everything would be delivered again under other keys.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::error!(path = %slot.file.path().display(), %error, "a newer promptd wrote a sink's cursor; the sink is paused");
                slot.progress.send_modify(|progress| {
                    progress.state = SinkState::Paused;
                    progress.error = Some(format!("the cursor is not ours: {error}"));
                });
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(path = %slot.file.path().display(), %error, "a sink's cursor is damaged; everything is delivered again");
                return Cursor::default();
            }
            Err(error) => {
                tracing::error!(path = %slot.file.path().display(), %error, "a sink's cursor cannot be read; trying again");
                tokio::time::sleep(READ_RETRY_DELAY).await;
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) delivery: Arc<Delivery>,
    pub(super) source: Arc<dyn Source>,
    pub(super) slot: Arc<SinkSlot>,
    pub(super) info: SessionInfo,
    pub(super) cursor: Cursor,
    /// The cursor has moved since it was written. (After a crash the batch is sent again with the same key.)
    pub(super) dirty: bool,
    /// The last record that was scanned.
    pub(super) scanned: u64,
    /// There were no more records.
    pub(super) at_end: bool,
    /// Some scanned records are held until later ones follow.
    pub(super) held: bool,
    /// Failed attempts since the last success.
    pub(super) failures: u32,
    /// The backend's count of recoveries when the last attempt failed.
    pub(super) failed_in: Option<u64>,
    /// How many messages of the batch the backend has accepted, and for which configuration.
    pub(super) partly_sent: Option<(Arc<Sink>, usize)>,
    /// When the last batch was accepted, and how long that took.
    pub(super) last_batch: Option<Instant>,
    pub(super) batch_duration: Duration,
    pub(super) changes: watch::Receiver<Arc<SessionState>>,
    pub(super) retry_now: watch::Receiver<()>,
    pub(super) disconnect: watch::Receiver<()>,
    pub(super) shutdown: watch::Receiver<bool>,
}

impl Worker {
    /// Waits until there is a batch to try; false if everything is delivered and the session is at rest.
    async fn wait_for_records(&mut self) -> bool {
        if self.cursor.batch.is_some() {
            return true;
        }
        let mut interval = Duration::ZERO;
        loop {
            let last_seq = self.changes.borrow_and_update().last_seq;
            let shape = self.slot.sink().0.kind.shape();
            if last_seq > self.scanned || (shape.creation && !self.cursor.created) {
                interval = shape.interval;
                break;
            }
            let shutting_down = *self.shutdown.borrow();
            if shutting_down || self.source.is_at_rest() {
                if self.held && !shutting_down {
                    break;
                }
                self.write_if_dirty().await;
                let (scanned, changes) = (self.scanned, &self.changes);
                if self.slot.finish(|| changes.borrow().last_seq > scanned) {
                    return false;
                }
                continue;
            }
            self.write_if_dirty().await;
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return false },
                () = self.slot.wake.notified() => {}
                _ = self.shutdown.changed() => {}
            }
        }
        if self.at_end && !*self.shutdown.borrow() {
            tokio::select! {
                () = tokio::time::sleep(BATCH_WINDOW) => {}
                _ = self.shutdown.changed() => {}
            }
        }
        if let Some(last) = self.last_batch.filter(|_| !interval.is_zero()) {
            tokio::time::sleep_until(last + interval.max(self.batch_duration * INTERVAL_FACTOR)).await;
        }
        true
    }

    async fn write_if_dirty(&mut self) {
        if self.dirty
            && let Err(error) = self.write().await
        {
            // After a restart the batch is sent again with the same key.
            tracing::warn!(path = %self.slot.file.path().display(), %error, "a sink's cursor cannot be written");
        }
    }

    /// Writes the cursor.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        let written = self.write_cursor().await;
        // Also after an error, so that nobody waits for the write.
        self.slot.progress.send_modify(|progress| progress.unwritten = false);
        written
    }

    async fn write_cursor(&mut self) -> io::Result<()> {
        self.dirty = false;
        let (cursor, file) = (self.cursor.clone(), Arc::clone(&self.slot.file));
        let written = tokio::task::spawn_blocking(move || file.write(&cursor)).await;
        // The task only fails while the runtime shuts down.
        written.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
