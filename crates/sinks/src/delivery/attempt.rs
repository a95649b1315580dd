//! The attempts of a worker: prepare a batch, send its messages, and handle the result.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::counters::Counts;
use super::state::SinkState;
use super::worker::Worker;
use crate::batch::{BatchContext, Bounds, PreparedBatch, prepare};
use crate::http::{Envelope, Failure, PAUSE, retry_delay, send};
use crate::kinds::Message;
use crate::sink::Sink;
use promptd_sys as sys;

/// A kind with larger batches than this has bodies of many megabytes.
const LARGE_BATCH: usize = 1 << 20;

impl Worker {
    /// Tries the batch in the cursor, or the next one.
    pub(super) async fn attempt(&mut self) -> Result<(), Failure> {
        let (sink, backend) = self.slot.sink();
        // A kind with single records has no limit on bytes, but its bodies are small.
        let shape = sink.kind.shape();
        let large = shape.bytes > LARGE_BATCH && !shape.single;
        let failed = self.failed_in == Some(backend.recoveries());
        let _permit = self.delivery.limits.acquire(&backend, failed, large).await;
        let started = Instant::now();
        let Some(prepared) = self.prepare(&sink).await? else {
            return Ok(());
        };
        let PreparedBatch { bounds, messages, .. } = &prepared;
        let partly_sent = self.partly_sent.take().filter(|(of, _)| Arc::ptr_eq(of, &sink));
        let mut accepted = partly_sent.map_or(0, |(_, accepted)| accepted);
        self.slot.progress.send_modify(|progress| {
            progress.waiting_since = prepared.oldest.or(progress.waiting_since);
            if progress.state == SinkState::Idle {
                progress.state = SinkState::Delivering;
            }
        });
        let envelope = Envelope {
            session: &self.info.session,
            epoch: &bounds.epoch,
        };
        let mut result = Ok(());
        self.disconnect.mark_unchanged();
        while let Some(message) = messages.get(accepted) {
            result = self.send(message, envelope).await;
            if result.is_err() {
                break;
            }
            accepted = accepted.saturating_add(1);
        }
        // A refused message does not mean that the backend fails, nor does an attempt that was interrupted by a pause.
        if self.disconnect.has_changed().unwrap_or(false) {
            self.disconnect.mark_unchanged();
        } else {
            let failed = matches!(result, Err(Failure::Temporary { .. }));
            backend.record_result(!failed);
            self.failed_in = failed.then(|| backend.recoveries());
        }
        match result {
            Ok(()) => {
                self.advance(&sink, &prepared);
                self.batch_duration = started.elapsed();
                Ok(())
            }
            Err(Failure::TooLarge) => self.divide(sink, &prepared, accepted).await,
            Err(failure) => {
                self.partly_sent = Some((sink, accepted));
                Err(failure)
            }
        }
    }

    async fn send(&self, message: &Message, envelope: Envelope<'_>) -> Result<(), Failure> {
        let client = self.delivery.clients.for_url(&message.url);
        let client =
            client.map_err(|error| Failure::temporary(format!("no TLS: {error}; check the machine's certificates")))?;
        let mut disconnect = self.disconnect.clone();
        tokio::select! {
            sent = send(&client, message, envelope) => sent,
            // The backend may have accepted it. When it is sent again, its key says so.
            _ = disconnect.changed() => Err(Failure::temporary("the machine was away")),
        }
    }

    /// Prepares a batch. The bounds of a new batch are on disk before this returns.
    async fn prepare(&mut self, sink: &Arc<Sink>) -> Result<Option<PreparedBatch>, Failure> {
        let context = BatchContext {
            info: self.info.clone(),
            folder: self.source.folder().to_owned(),
            masker: self.source.masker(),
            translation: self.source.translation(),
            state: self.changes.borrow().clone(),
            epoch: self.source.epoch(),
            now: Timestamp::now(),
            release_held: self.held && self.source.is_at_rest(),
            file: Arc::clone(&self.slot.file),
            translators: Arc::clone(&self.slot.translators),
        };
        let (cursor, sink) = (self.cursor.clone(), Arc::clone(sink));
        let prepared = tokio::task::spawn_blocking(move || prepare(&context, cursor, &sink)).await;
        let (cursor, scan, prepared) = prepared
            .map_err(Failure::temporary)?
            .map_err(|error| Failure::temporary(error.message()))?;
        let before = std::mem::replace(&mut self.cursor, cursor).seq;
        if let Some(scan) = scan {
            (self.scanned, self.at_end, self.held) = (scan.last, scan.at_end, scan.held);
        }
        // The cursor was written with the bounds of the batch.
        self.dirty &= prepared.is_none();
        if prepared.is_none() && self.cursor.seq > before {
            // No record that the kind wants: they count as delivered, and are scanned again after a crash.
            self.dirty = true;
            let behind = self.changes.borrow().last_seq > self.cursor.seq;
            self.failures = 0;
            self.slot.progress.send_modify(|progress| {
                progress.acked = self.cursor.seq;
                (progress.error, progress.failures) = (None, 0);
                if !behind {
                    (progress.state, progress.waiting_since) = (SinkState::Idle, None);
                }
            });
        }
        Ok(prepared)
    }

    /// Moves the cursor after a batch was accepted.
    fn advance(&mut self, sink: &Sink, prepared: &PreparedBatch) {
        let Bounds { first, last, epoch } = &prepared.bounds;
        if *first == 0 {
            self.cursor.created = true;
        }
        self.cursor.seq = self.cursor.seq.max(*last);
        self.cursor.epoch.clone_from(epoch);
        self.cursor.batch = None;
        self.scanned = self.scanned.max(*last);
        (self.dirty, self.failures) = (true, 0);
        self.last_batch = Some(Instant::now());
        let bodies = prepared.messages.iter().map(|message| message.body.len());
        self.delivery.counters.add(
            sink.kind(),
            Counts {
                batches: 1,
                records: prepared.records,
                bytes: bodies.filter_map(|length| u64::try_from(length).ok()).sum(),
                ..Counts::default()
            },
        );
        let behind = self.changes.borrow().last_seq > self.cursor.seq;
        self.slot.progress.send_modify(|progress| {
            let state = if behind { SinkState::Delivering } else { SinkState::Idle };
            (progress.state, progress.acked, progress.unwritten) = (state, self.cursor.seq, true);
            (progress.error, progress.failures) = (None, 0);
            progress.waiting_since = prepared.newest.filter(|_| behind);
        });
    }

    /// Divides a batch that was too large, unless a part of it was accepted already under its key.
    async fn divide(&mut self, sink: Arc<Sink>, prepared: &PreparedBatch, accepted: usize) -> Result<(), Failure> {
        let Some((last, bytes)) = prepared.middle.filter(|_| accepted == 0) else {
            self.partly_sent = Some((sink, accepted));
            let bytes = prepared.messages.get(accepted).map_or(0, |message| message.body.len());
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
        (self.scanned, self.at_end) = (last, false);
        // On disk before the first attempt, like every batch.
        let written = self.write().await;
        written.map_err(|error| Failure::temporary(format!("cannot write the cursor: {error}; make room on the disk")))
    }

    /// Waits until the next attempt.
    pub(super) async fn wait_after(&mut self, failure: Failure) {
        self.failures = self.failures.saturating_add(1);
        let random = sys::random_bytes().map_or(u64::MAX, u64::from_be_bytes);
        let (state, error, wait) = match failure {
            Failure::Temporary { error, retry_after } => {
                let wait = retry_delay(self.failures, random, retry_after);
                (SinkState::Retrying, error, wait)
            }
            Failure::Refused { error } => (SinkState::Paused, error, PAUSE),
            Failure::TooLarge => (SinkState::Paused, "too large".to_owned(), PAUSE),
        };
        self.report(state, error);
        let slot = Arc::clone(&self.slot);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = slot.reconfigured.notified() => {}
            _ = self.retry_now.changed() => {}
            _ = self.shutdown.changed() => {}
        }
    }

    /// Shows, counts and logs a failure.
    fn report(&self, state: SinkState, error: String) {
        let (sink, _) = self.slot.sink();
        // A backend may repeat what it received, including secrets.
        let error = sink.mask(error, self.source.masker().as_deref());
        let is_refusal = state == SinkState::Paused;
        let counts = Counts {
            refusals: u64::from(is_refusal),
            retries: u64::from(!is_refusal),
            ..Counts::default()
        };
        self.delivery.counters.add(sink.kind(), counts);
        // Only after the first failure: a backend may be down for days.
        if self.failures == 1 {
            let (session, sink, state) = (&self.info.session, sink.name(), state.name());
            tracing::warn!(session, sink, state, error, "delivery is held up");
        }
        self.slot.progress.send_modify(|progress| {
            progress.waiting_since = progress.waiting_since.or_else(|| Some(Timestamp::now()));
            (progress.state, progress.failures) = (state, self.failures);
            progress.error = Some(error);
        });
    }
}
