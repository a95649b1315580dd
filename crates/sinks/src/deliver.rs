//! The loop of one sink of one session: wait, cut a batch, try it until it is taken, move on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::attempt::{Envelope, Failure, send};
use super::cursor::{Bounds, Cursor};
use super::kinds::{About, Message};
use super::lane::{Lane, SinkState};
use super::prepare::{Prepared, Wanted, prepare};
use super::sink::Sink;
use super::{Counted, Delivery, Source, retry};
use promptd_model::SessionState;
use promptd_sys as sys;

/// After so long a cursor that could not be read is tried again: descriptors or a disk may have been short.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// A kind whose batches may have more bytes than this has bodies of many megabytes.
const LARGE: usize = 1 << 20;

/// A kind that keeps a pace, because each of its batches costs more than the one before, may spend one in so many
/// seconds on them.
const LEISURE: u32 = 4;

/// Records that come within this time go together.
const WINDOW: Duration = Duration::from_millis(250);

/// Delivers until everything is delivered and nothing more will come by itself.
pub(super) async fn run(delivery: Arc<Delivery>, source: Arc<dyn Source>, lane: Arc<Lane>) {
    let cursor = read_cursor(&lane).await;
    let (changes, now, cut, shutdown) = (
        source.changes(),
        delivery.now.subscribe(),
        delivery.cut.subscribe(),
        delivery.shutdown.subscribe(),
    );
    let mut delivering = Delivering {
        about: source.about(),
        seen: cursor.seq,
        cursor,
        dirty: false,
        at_end: true,
        held: false,
        failures: 0,
        failed_in: None,
        tried: None,
        last: None,
        spent: Duration::ZERO,
        delivery,
        source,
        lane,
        changes,
        now,
        cut,
        shutdown,
    };
    while delivering.is_due().await {
        match delivering.attempt().await {
            Ok(()) => {}
            Err(failure) => delivering.failed(failure).await,
        }
    }
}

/// The cursor; the beginning where it is no cursor any more. What cannot be read just now is waited for.
async fn read_cursor(lane: &Lane) -> Cursor {
    loop {
        let path = lane.path.clone();
        let read = tokio::task::spawn_blocking(move || Cursor::read(&path)).await;
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(cursor) => return cursor,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(path = %lane.path.display(), %error, "a sink's cursor is damaged; everything is delivered again");
                return Cursor::default();
            }
            Err(error) => {
                tracing::error!(path = %lane.path.display(), %error, "a sink's cursor cannot be read; trying again");
                tokio::time::sleep(READ_AGAIN).await;
            }
        }
    }
}

#[derive(Debug)]
struct Delivering {
    delivery: Arc<Delivery>,
    source: Arc<dyn Source>,
    lane: Arc<Lane>,
    about: About,
    cursor: Cursor,
    /// The cursor has moved since it was written: a batch that is sent again after a crash has its old key.
    dirty: bool,
    /// The last record that was looked at.
    seen: u64,
    /// There was nothing behind it.
    at_end: bool,
    /// Some of what was looked at waits for what follows.
    held: bool,
    /// Attempts in a row that failed.
    failures: u32,
    /// When the last one failed, as the backend's recoveries tell it.
    failed_in: Option<u64>,
    /// How many messages of the batch the backend has taken, and from which sink.
    tried: Option<(Arc<Sink>, usize)>,
    /// When the last batch was taken, and how long that took.
    last: Option<Instant>,
    spent: Duration,
    changes: watch::Receiver<Arc<SessionState>>,
    now: watch::Receiver<()>,
    cut: watch::Receiver<()>,
    shutdown: watch::Receiver<bool>,
}

impl Delivering {
    /// Waits until there is something to try; false when there will not be before somebody asks for something.
    async fn is_due(&mut self) -> bool {
        if self.cursor.batch.is_some() {
            return true;
        }
        let mut pace = Duration::ZERO;
        loop {
            let last_seq = self.changes.borrow_and_update().last_seq;
            let shape = self.lane.sink().0.kind.shape();
            if last_seq > self.seen || (shape.creation && !self.cursor.created) {
                pace = shape.pace;
                break;
            }
            let ends = *self.shutdown.borrow();
            if ends || self.source.at_rest() {
                if self.held && !ends {
                    break;
                }
                self.write_if_dirty().await;
                let (seen, changes) = (self.seen, &self.changes);
                if self.lane.rest(|| changes.borrow().last_seq > seen) {
                    return false;
                }
                continue;
            }
            self.write_if_dirty().await;
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return false },
                () = self.lane.poke.notified() => {}
                _ = self.shutdown.changed() => {}
            }
        }
        if self.at_end && !*self.shutdown.borrow() {
            tokio::select! {
                () = tokio::time::sleep(WINDOW) => {}
                _ = self.shutdown.changed() => {}
            }
        }
        if let Some(last) = self.last.filter(|_| !pace.is_zero()) {
            tokio::time::sleep_until(last + pace.max(self.spent * LEISURE)).await;
        }
        true
    }

    async fn write_if_dirty(&mut self) {
        if self.dirty
            && let Err(error) = self.write().await
        {
            // What was taken and not written down is sent again after a restart, under the same key.
            tracing::warn!(path = %self.lane.path.display(), %error, "a sink's cursor cannot be written");
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        let written = self.write_cursor().await;
        // Also where it failed: nobody is to wait for what will not come.
        self.lane.progress.send_modify(|progress| progress.unwritten = false);
        written
    }

    async fn write_cursor(&mut self) -> io::Result<()> {
        self.dirty = false;
        let (cursor, lane) = (self.cursor.clone(), Arc::clone(&self.lane));
        let written = tokio::task::spawn_blocking(move || lane.write(&cursor)).await;
        // A thread that was never started is a server at its end.
        written.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Tries the batch that was begun, or the next one.
    async fn attempt(&mut self) -> Result<(), Failure> {
        let (sink, backend) = self.lane.sink();
        // Of a single record nobody bounds the bytes, and yet it is small.
        let shape = sink.kind.shape();
        let large = shape.bytes > LARGE && !shape.single;
        let failed = self.failed_in == Some(backend.recoveries());
        let _place = self.delivery.gate.enter(&backend, failed, large).await;
        let begun = Instant::now();
        let Some(prepared) = self.prepare(&sink).await? else {
            return Ok(());
        };
        let Prepared { bounds, messages, .. } = &prepared;
        let same = self.tried.take().filter(|(of, _)| Arc::ptr_eq(of, &sink));
        let mut taken = same.map_or(0, |(_, taken)| taken);
        self.lane.progress.send_modify(|progress| {
            progress.waiting_since = prepared.oldest.or(progress.waiting_since);
            if progress.state == SinkState::Idle {
                progress.state = SinkState::Delivering;
            }
        });
        let envelope = Envelope {
            session: &self.about.session,
            epoch: &bounds.epoch,
        };
        let mut result = Ok(());
        self.cut.mark_unchanged();
        while let Some(message) = messages.get(taken) {
            result = self.send(message, envelope).await;
            if result.is_err() {
                break;
            }
            taken = taken.saturating_add(1);
        }
        // A route that refuses is no backend that fails, nor is one whose answer we did not wait for.
        if self.cut.has_changed().unwrap_or(false) {
            self.cut.mark_unchanged();
        } else {
            let failed = matches!(result, Err(Failure::Again { .. }));
            backend.answered(!failed);
            self.failed_in = failed.then(|| backend.recoveries());
        }
        match result {
            Ok(()) => {
                self.delivered(&sink, &prepared);
                self.spent = begun.elapsed();
                Ok(())
            }
            Err(Failure::TooLarge) => self.too_large(sink, &prepared, taken).await,
            Err(failure) => {
                self.tried = Some((sink, taken));
                Err(failure)
            }
        }
    }

    async fn send(&self, message: &Message, envelope: Envelope<'_>) -> Result<(), Failure> {
        let client = self.delivery.clients.for_url(&message.url);
        let client = client.map_err(|error| Failure::Again {
            error: format!("no TLS: {error}; check the machine's certificates"),
            asked: None,
        })?;
        let mut cut = self.cut.clone();
        tokio::select! {
            sent = send(&client, message, envelope) => sent,
            // It may have been taken: then its key tells the backend so when it comes again.
            _ = cut.changed() => Err(Failure::Again {
                error: "the machine was away".to_owned(),
                asked: None,
            }),
        }
    }

    /// What to send, read from the journal; the bounds of a new batch are on the disk before it is given.
    async fn prepare(&mut self, sink: &Arc<Sink>) -> Result<Option<Prepared>, Failure> {
        let wanted = Wanted {
            about: self.about.clone(),
            folder: self.source.folder().to_owned(),
            masker: self.source.masker(),
            translation: self.source.translation(),
            state: self.changes.borrow().clone(),
            epoch: self.source.epoch(),
            now: Timestamp::now(),
            release: self.held && self.source.at_rest(),
            lane: Arc::clone(&self.lane),
        };
        let (cursor, sink) = (self.cursor.clone(), Arc::clone(sink));
        let prepared = tokio::task::spawn_blocking(move || prepare(&wanted, cursor, &sink)).await;
        let failed = |error: String| Failure::Again { error, asked: None };
        let (cursor, looked, prepared) = prepared
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.in_words()))?;
        let before = std::mem::replace(&mut self.cursor, cursor).seq;
        if let Some(looked) = looked {
            (self.seen, self.at_end, self.held) = (looked.seen, looked.at_end, looked.held);
        }
        // A batch that is given was written down with its cursor.
        self.dirty &= prepared.is_none();
        if prepared.is_none() && self.cursor.seq > before {
            // Nothing that this kind wants: it counts as delivered, and is looked at again after a crash.
            self.dirty = true;
            let behind = self.changes.borrow().last_seq > self.cursor.seq;
            self.failures = 0;
            self.lane.progress.send_modify(|progress| {
                progress.acked = self.cursor.seq;
                (progress.error, progress.failures) = (None, 0);
                if !behind {
                    (progress.state, progress.waiting_since) = (SinkState::Idle, None);
                }
            });
        }
        Ok(prepared)
    }

    fn delivered(&mut self, sink: &Sink, prepared: &Prepared) {
        let Bounds { first, last, epoch } = &prepared.bounds;
        if *first == 0 {
            self.cursor.created = true;
        }
        self.cursor.seq = self.cursor.seq.max(*last);
        self.cursor.epoch.clone_from(epoch);
        self.cursor.batch = None;
        self.seen = self.seen.max(*last);
        (self.dirty, self.failures) = (true, 0);
        self.last = Some(Instant::now());
        let bodies = prepared.messages.iter().map(|message| message.body.len());
        self.delivery.counters.add(
            sink.of,
            Counted {
                batches: 1,
                records: prepared.records,
                bytes: bodies.filter_map(|length| u64::try_from(length).ok()).sum(),
                ..Counted::default()
            },
        );
        let behind = self.changes.borrow().last_seq > self.cursor.seq;
        self.lane.progress.send_modify(|progress| {
            let state = if behind { SinkState::Delivering } else { SinkState::Idle };
            (progress.state, progress.acked, progress.unwritten) = (state, self.cursor.seq, true);
            (progress.error, progress.failures) = (None, 0);
            progress.waiting_since = prepared.newest.filter(|_| behind);
        });
    }

    /// Halves the batch, where it can be done without sending something again under another key.
    async fn too_large(&mut self, sink: Arc<Sink>, prepared: &Prepared, taken: usize) -> Result<(), Failure> {
        let Some((last, bytes)) = prepared.middle.filter(|_| taken == 0) else {
            self.tried = Some((sink, taken));
            let bytes = prepared.messages.get(taken).map_or(0, |message| message.body.len());
            let error = format!(
                "the backend answered 413 to a message of {bytes} bytes that cannot be divided; have it take larger ones"
            );
            return Err(Failure::Refused { error });
        };
        self.cursor.limit = Some(bytes);
        self.cursor.batch = Some(Bounds {
            last,
            ..prepared.bounds.clone()
        });
        (self.seen, self.at_end) = (last, false);
        // On the disk before it is tried, like every batch.
        self.write().await.map_err(|error| Failure::Again {
            error: format!("cannot write the cursor: {error}; make room on the disk"),
            asked: None,
        })
    }

    /// Waits until the next attempt is due.
    async fn failed(&mut self, failure: Failure) {
        self.failures = self.failures.saturating_add(1);
        let random = sys::random().map_or(u64::MAX, u64::from_be_bytes);
        let (state, error, wait) = match failure {
            Failure::Again { error, asked } => {
                let wait = retry::delay(self.failures, random, asked);
                (SinkState::Retrying, error, wait)
            }
            Failure::Refused { error } => (SinkState::Paused, error, retry::PAUSE),
            Failure::TooLarge => (SinkState::Paused, "too large".to_owned(), retry::PAUSE),
        };
        self.tell(state, error);
        let lane = Arc::clone(&self.lane);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = lane.renewed.notified() => {}
            _ = self.now.changed() => {}
            _ = self.shutdown.changed() => {}
        }
    }

    fn tell(&self, state: SinkState, error: String) {
        let (sink, _) = self.lane.sink();
        // A backend may repeat what it was sent, with the keys.
        let error = sink.without_secrets(error, self.source.masker().as_deref());
        let counted = match state {
            SinkState::Paused => Counted {
                refusals: 1,
                ..Counted::default()
            },
            _ => Counted {
                retries: 1,
                ..Counted::default()
            },
        };
        self.delivery.counters.add(sink.of, counted);
        // Once when it begins and not at every attempt: a backend may be away for days.
        let session = &self.about.session;
        if self.failures == 1 {
            tracing::warn!(
                session,
                sink = sink.name,
                state = state.name(),
                error,
                "delivery is held up"
            );
        }
        self.lane.progress.send_modify(|progress| {
            progress.waiting_since = progress.waiting_since.or_else(|| Some(Timestamp::now()));
            (progress.state, progress.failures) = (state, self.failures);
            progress.error = Some(error);
        });
    }
}
