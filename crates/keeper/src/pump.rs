//! From the agent's output files into the journal.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::late::has_ended;
use super::start::append;
use super::stream::Look;
use super::work::{ExitState, Keeper};
use promptd_journal::WriteError;
use promptd_model::{Body, Gap};

/// How long to wait before a journal that could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_millis(250);

/// Blocks of output per round: an agent that writes without pause must not keep us from the control socket.
const ROUND: usize = 16;

impl Keeper {
    /// Brings what the agent wrote into the journal; answers whether there may be more at once.
    pub(super) fn pump(&mut self, now: Instant) -> Result<bool, WriteError> {
        if self.write_again.is_some_and(|again| now < again) {
            return Ok(false);
        }
        self.write_again = None;
        self.writer.be_careful(self.disk.is_frozen());
        let mut buffer = std::mem::take(&mut self.buffer);
        let pumped = self.pump_round(&mut buffer, now);
        self.buffer = buffer;
        if pumped.is_err() {
            // Nothing is lost: what is not in the journal stays in the agent's files.
            self.write_again = Some(now + WRITE_AGAIN);
        }
        pumped
    }

    fn pump_round(&mut self, buffer: &mut Vec<u8>, now: Instant) -> Result<bool, WriteError> {
        self.flush_pending()?;
        let mut more = true;
        for _ in 0..ROUND {
            // In turn, so that neither stream starves the other.
            let stdout = self.pump_stream(0, buffer, now)?;
            let stderr = self.pump_stream(1, buffer, now)?;
            more = self.mark(now)? || stdout || stderr;
            if !more {
                break;
            }
        }
        let ExitState::Due(_, sizes) = &self.exit else {
            return Ok(more);
        };
        if self
            .streams
            .iter()
            .zip(sizes)
            .all(|(stream, size)| stream.has_reached(*size))
            && self.marks.are_recorded()
            && let ExitState::Due(exited, _) = std::mem::replace(&mut self.exit, ExitState::Recorded)
        {
            self.disk.pending.push(Body::Exited(*exited));
            self.flush_pending()?;
        }
        Ok(more)
    }

    /// Records how far the setup is, once all that was written before is in the journal; answers whether it did.
    fn mark(&mut self, now: Instant) -> Result<bool, WriteError> {
        if self.marks.are_over() {
            return Ok(false);
        }
        self.marks.read();
        let reached = |sizes: [u64; 2]| {
            let mut streams = self.streams.iter().zip(sizes);
            streams.all(|(stream, size)| stream.has_reached(size))
        };
        let Some(mark) = self.marks.next(reached) else {
            return Ok(false);
        };
        self.disk.pending.extend(mark.body(&self.agent, self.spec.attempt));
        self.last_words = now;
        self.flush_pending()?;
        Ok(true)
    }

    fn flush_pending(&mut self) -> Result<(), WriteError> {
        if !self.disk.pending.is_empty() {
            append(&mut self.writer, self.spec.turn, &self.disk.pending)?;
            self.disk.pending.clear();
        }
        Ok(())
    }

    /// One block of one stream; answers whether there may be more.
    fn pump_stream(&mut self, index: usize, buffer: &mut Vec<u8>, now: Instant) -> Result<bool, WriteError> {
        // The last words of an agent that has gone need no newline.
        let end = matches!(self.exit, ExitState::Due(..));
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(false);
        };
        if self.writer.size() > self.spec.session_bytes {
            // What cannot be kept is counted once whoever wrote it has gone; until then it stays in the file.
            let bytes = if matches!(self.exit, ExitState::Running) {
                0
            } else {
                stream.skip()
            };
            if bytes > 0 {
                let stream = stream.stream.name().to_owned();
                let reason = "the session has reached limits.session_bytes".to_owned();
                self.disk.pending.push(Body::Gap(Gap {
                    stream,
                    bytes,
                    reason,
                    to: None,
                }));
                self.flush_pending()?;
            }
            return Ok(false);
        }
        let name = stream.stream;
        match stream.look(buffer).map_err(|source| WriteError::Io {
            path: self.paths.folder().to_owned(),
            source,
        })? {
            Look::Nothing => Ok(false),
            Look::Truncated { lost, to } => {
                let reason =
                    "the file was truncated by the agent or one of its commands while it was followed".to_owned();
                let gap = Gap {
                    stream: name.name().to_owned(),
                    bytes: lost,
                    reason,
                    to: Some(to),
                };
                // Among the pending, so that it is written even if the disk is full just now.
                self.disk.pending.push(Body::Gap(gap));
                self.flush_pending()?;
                Ok(true)
            }
            Look::Bytes => {
                let end = self.marks.cut(index, stream.position(), buffer) || end;
                let mut chunks = stream.chunks(buffer, end, now).peekable();
                if chunks.peek().is_none() {
                    stream.advance(buffer, 0, now);
                    return Ok(false);
                }
                let mut batch = self.writer.lock(Timestamp::now())?;
                self.turn_ended = self.turn_ended || has_ended(&batch, self.paths.folder(), self.spec.turn);
                let mut taken = 0_usize;
                for chunk in chunks {
                    taken = taken.saturating_add(chunk.stream_len());
                    let to = stream.offset_after(taken);
                    if batch.output(self.spec.turn, name, &chunk, to, self.turn_ended) {
                        break;
                    }
                }
                batch.write()?;
                stream.advance(buffer, taken, now);
                self.last_words = now;
                Ok(true)
            }
        }
    }
}
