//! Copies the agent's output files into the journal.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::keeper::{ExitState, Keeper};
use crate::lock_holders::end_lock_holders;
use crate::stream::{ReadResult, StreamFile};
use crate::turn_end::is_turn_ended;
use promptd_journal::{FILE_NAME, WriteError};
use promptd_model::{Body, Gap};

/// How long to wait after writing to the journal failed.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// How long a process of an agent may keep the journal locked.
const LOCK_HOLDER_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum blocks of output per round: an agent that writes without pause must not delay requests.
const MAX_BLOCKS: usize = 16;

impl Keeper {
    /// Copies output into the journal; answers whether there may be more.
    pub(super) fn pump(&mut self, now: Instant) -> Result<bool, WriteError> {
        if self.retry_write_at.is_some_and(|retry| now < retry) {
            return Ok(false);
        }
        self.retry_write_at = None;
        let mut buffer = std::mem::take(&mut self.buffer);
        let pumped = self.pump_round(&mut buffer, now);
        self.buffer = buffer;
        if pumped.is_err() {
            // Nothing is lost: the output is still in the agent's files.
            self.retry_write_at = Some(now + RETRY_DELAY);
        }
        if matches!(pumped, Err(WriteError::Locked { .. })) {
            self.end_lock_holders(now);
        } else {
            self.locked_since = None;
        }
        pumped
    }

    /// A process of an agent that keeps the journal locked would keep the turn from ending, too.
    fn end_lock_holders(&mut self, now: Instant) {
        let since = *self.locked_since.get_or_insert(now);
        if now.duration_since(since) < LOCK_HOLDER_TIMEOUT {
            return;
        }
        let ended = end_lock_holders(&self.paths.folder().join(FILE_NAME));
        if let Some(ended) = u32::try_from(ended).ok().filter(|ended| *ended > 0) {
            self.pending.push(Body::Alert {
                resource: "journal_lock (processes of an agent kept the journal locked and were ended)".to_owned(),
                value: f64::from(ended),
                threshold: 0.0,
            });
        }
    }

    fn pump_round(&mut self, buffer: &mut Vec<u8>, now: Instant) -> Result<bool, WriteError> {
        self.write_pending()?;
        let mut more = true;
        for _ in 0..MAX_BLOCKS {
            // Alternating, so that neither stream delays the other.
            let stdout = self.pump_stream(0, buffer, now)?;
            let stderr = self.pump_stream(1, buffer, now)?;
            more = self.record_setup(now)? || stdout || stderr;
            if !more {
                break;
            }
        }
        let ExitState::Due(_, sizes) = &self.exit else {
            return Ok(more);
        };
        if have_reached(&self.streams, *sizes)
            && self.setup.is_recorded()
            && let ExitState::Due(exited, _) = std::mem::replace(&mut self.exit, ExitState::Recorded)
        {
            self.pending.push(Body::Exited(*exited));
            self.write_pending()?;
        }
        Ok(more)
    }

    /// Records the next progress of the setup, if all output before it is in the journal; answers whether it did.
    fn record_setup(&mut self, now: Instant) -> Result<bool, WriteError> {
        if self.setup.is_complete() {
            return Ok(false);
        }
        self.setup.read();
        let streams = &self.streams;
        let Some(entry) = self.setup.take_next(|sizes| have_reached(streams, sizes)) else {
            return Ok(false);
        };
        let started = |program, start_point| self.agent.started(program, &self.spec, start_point);
        self.pending.extend(entry.into_record(started));
        self.last_activity = now;
        self.write_pending()?;
        Ok(true)
    }

    /// Copies one block of one stream; answers whether there may be more.
    fn pump_stream(&mut self, index: usize, buffer: &mut Vec<u8>, now: Instant) -> Result<bool, WriteError> {
        // After the exit an unfinished line is complete.
        let at_end = matches!(self.exit, ExitState::Due(..));
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(false);
        };
        if self.writer.size() > self.spec.session_bytes {
            // The rest is skipped and counted after the exit; until then it stays in the file.
            let bytes = if matches!(self.exit, ExitState::Running) {
                0
            } else {
                stream.skip()
            };
            if bytes > 0 {
                let stream = stream.stream.name().to_owned();
                let reason = "the session has reached limits.session_bytes".to_owned();
                self.pending.push(Body::Gap(Gap {
                    stream,
                    bytes,
                    reason,
                    to: None,
                }));
                self.write_pending()?;
            }
            return Ok(false);
        }
        let which = stream.stream;
        match stream.read(buffer).map_err(|source| WriteError::Io {
            path: self.paths.folder().to_owned(),
            source,
        })? {
            ReadResult::Nothing => Ok(false),
            ReadResult::Truncated { lost, to } => {
                let reason =
                    "the file was truncated by the agent or one of its commands while it was followed".to_owned();
                let gap = Gap {
                    stream: which.name().to_owned(),
                    bytes: lost,
                    reason,
                    to: Some(to),
                };
                // A pending record, so that it is not lost if the disk is full.
                self.pending.push(Body::Gap(gap));
                self.write_pending()?;
                Ok(true)
            }
            ReadResult::Bytes => {
                let end = self.setup.truncate_to_step(index, stream.position(), buffer) || at_end;
                let mut chunks = stream.chunks(buffer, end, now).peekable();
                if chunks.peek().is_none() {
                    stream.advance(buffer, 0, now);
                    return Ok(false);
                }
                let mut batch = self.writer.lock(Timestamp::now())?;
                self.turn_ended = self.turn_ended || is_turn_ended(&batch, self.paths.folder(), self.spec.turn);
                let mut taken = 0_usize;
                for chunk in chunks {
                    taken = taken.saturating_add(chunk.stream_len());
                    let to = stream.offset_after(taken);
                    if batch.output(self.spec.turn, which, &chunk, to, self.turn_ended) {
                        break;
                    }
                }
                batch.write()?;
                stream.advance(buffer, taken, now);
                self.last_activity = now;
                Ok(true)
            }
        }
    }
}

/// Whether both output files are in the journal up to these sizes.
fn have_reached(streams: &[StreamFile; 2], sizes: [u64; 2]) -> bool {
    streams.iter().zip(sizes).all(|(stream, size)| stream.has_reached(size))
}
