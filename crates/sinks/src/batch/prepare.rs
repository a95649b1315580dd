//! Prepares the messages of a batch: reads the journal, chooses the bounds, and writes them to disk.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::cursor::{Bounds, Cursor, CursorFile};
use super::journal_lines::JournalLines;
use super::translator_cache::TranslatorCache;
use crate::kinds::{Batch, BatchShape, Line, Message};
use crate::sink::Sink;
use crate::source::SessionInfo;
use promptd_agents::updates::{self, Translation};
use promptd_journal::{ReadError, SeekError};
use promptd_mask::Masker;
use promptd_model::SessionState;

/// Maximum bytes that are scanned at once for records that the kind wants.
const MAX_SCAN: usize = 64 << 20;

/// The input for preparing a batch.
#[derive(Debug)]
pub(crate) struct BatchContext {
    pub(crate) info: SessionInfo,
    pub(crate) folder: PathBuf,
    pub(crate) masker: Option<Arc<Masker>>,
    /// A translator that has read nothing.
    pub(crate) translation: Translation,
    pub(crate) state: Arc<SessionState>,
    /// The epoch for a new batch.
    pub(crate) epoch: String,
    pub(crate) now: Timestamp,
    /// No more records will follow, so held records are sent.
    pub(crate) release_held: bool,
    pub(crate) file: Arc<CursorFile>,
    pub(crate) translators: Arc<TranslatorCache>,
}

/// A batch that is ready to be sent.
#[derive(Debug)]
pub(crate) struct PreparedBatch {
    pub(crate) bounds: Bounds,
    pub(crate) messages: Vec<Message>,
    /// The number of its records that the kind wants.
    pub(crate) records: u64,
    /// When its first and its last record were written.
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) newest: Option<Timestamp>,
    /// Where it can be divided: the last `seq` and the bytes of its first half.
    pub(crate) middle: Option<(u64, usize)>,
}

/// What was found in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The last record that was scanned.
    pub(crate) last: u64,
    /// There were no more records.
    pub(crate) at_end: bool,
    /// Some records are held until later ones follow.
    pub(crate) held: bool,
}

/// Why a batch cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Seek(#[from] SeekError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write the cursor {path}; make room on the disk")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl PrepareError {
    /// The message, including its source.
    pub(crate) fn message(&self) -> String {
        let cause = std::error::Error::source(self).map(|source| format!(" ({source})"));
        format!("{self}{}", cause.unwrap_or_default())
    }
}

type Result<T> = std::result::Result<T, PrepareError>;

/// Prepares the batch in the cursor, or cuts a new one; `None` if there are no records that the kind wants.
pub(crate) fn prepare(
    context: &BatchContext,
    mut cursor: Cursor,
    sink: &Sink,
) -> Result<(Cursor, Option<Scan>, Option<PreparedBatch>)> {
    let shape = sink.kind.shape();
    if let Some(bounds) = cursor.batch.clone() {
        if let Some(lines) = context.read(&bounds, sink)? {
            let prepared = context.messages(sink, bounds, &lines)?;
            return Ok((cursor, None, Some(prepared)));
        }
        // Some of its records were deleted. The rest goes into another batch.
        cursor.batch = None;
    }
    if shape.creation && !cursor.created {
        let bounds = context.bounds(0, 0);
        context.write_bounds(&mut cursor, &bounds)?;
        let prepared = context.messages(sink, bounds, &[])?;
        return Ok((cursor, None, Some(prepared)));
    }
    let limit = cursor.limit.unwrap_or(shape.bytes).min(shape.bytes);
    let cut = context.cut(cursor.seq, sink, BatchShape { bytes: limit, ..shape })?;
    let Cut {
        lines,
        first,
        last,
        scan,
    } = cut;
    if lines.is_empty() {
        cursor.seq = cursor.seq.max(last);
        return Ok((cursor, Some(scan), None));
    }
    let bounds = context.bounds(first, last);
    context.write_bounds(&mut cursor, &bounds)?;
    let prepared = context.messages(sink, bounds, &lines)?;
    Ok((cursor, Some(scan), Some(prepared)))
}

#[derive(Debug)]
struct Cut {
    lines: Vec<Line>,
    /// The `seq` after the cursor, or the first kept record, which says that records were deleted.
    first: u64,
    last: u64,
    scan: Scan,
}

impl BatchContext {
    fn open(&self, after: u64) -> Result<JournalLines> {
        Ok(JournalLines::open(&self.folder, self.masker.clone(), after)?)
    }

    fn bounds(&self, first: u64, last: u64) -> Bounds {
        let epoch = self.epoch.clone();
        Bounds { first, last, epoch }
    }

    /// Writes the bounds to disk.
    fn write_bounds(&self, cursor: &mut Cursor, bounds: &Bounds) -> Result<()> {
        cursor.batch = Some(bounds.clone());
        self.file.write(cursor).map_err(|source| PrepareError::Write {
            path: self.file.path().to_owned(),
            source,
        })
    }

    /// The lines of an earlier batch; `None` if some were deleted.
    fn read(&self, bounds: &Bounds, sink: &Sink) -> Result<Option<Vec<Line>>> {
        let mut found = Vec::new();
        if bounds.first == 0 {
            return Ok(Some(found));
        }
        let mut lines = self.open(bounds.first.saturating_sub(1))?;
        let mut expected = bounds.first;
        while expected <= bounds.last {
            match lines.next()? {
                Some(line) if line.seq == expected => {
                    if line.head().is_some_and(|head| sink.kind.wants(head)) {
                        found.push(line);
                    }
                }
                Some(_) | None => return Ok(None),
            }
            expected = expected.saturating_add(1);
        }
        Ok(Some(found))
    }

    /// The next lines after `after` that fit into a batch.
    fn cut(&self, after: u64, sink: &Sink, shape: BatchShape) -> Result<Cut> {
        let mut lines = self.open(after)?;
        let (mut found, mut last) = (Vec::new(), after);
        let (mut bytes, mut scanned) = (0_usize, 0_usize);
        let mut at_end = false;
        while scanned < MAX_SCAN {
            // Records that the state does not include yet stay out: a retry would know more and send other bytes.
            let known = |line: &Line| line.seq <= self.state.last_seq;
            let Some(line) = lines.next()?.filter(known) else {
                at_end = true;
                break;
            };
            scanned = scanned.saturating_add(line.text.len());
            // With the separator after it.
            let length = line.text.len().saturating_add(1);
            if line.head().is_some_and(|head| sink.kind.wants(head)) {
                bytes = bytes.saturating_add(length);
                if bytes > shape.bytes && !found.is_empty() {
                    break;
                }
                last = line.seq;
                found.push(line);
                if shape.single {
                    break;
                }
            } else {
                last = line.seq;
            }
        }
        let scanned_to = last;
        let ready = match sink.kind.ready(&found) {
            // Held records cannot wait for records that do not fit into the same batch.
            0 if !at_end => found.len(),
            _ if self.release_held => found.len(),
            ready => ready,
        };
        let held = found.get(ready).map(|line| line.seq);
        if let Some(held) = held {
            found.truncate(ready);
            last = held.saturating_sub(1);
        }
        let scan = Scan {
            last: if found.is_empty() { scanned_to } else { last },
            at_end,
            held: held.is_some(),
        };
        Ok(Cut {
            lines: found,
            first: lines.earliest().unwrap_or(after.saturating_add(1)),
            last,
            scan,
        })
    }

    /// Calls `each` with the records after `after`, up to `last`.
    fn for_each(&self, after: u64, last: u64, each: &mut dyn FnMut(&Line)) -> std::result::Result<(), ReadError> {
        let mut lines = match self.open(after) {
            Ok(lines) => lines,
            Err(PrepareError::Read(error) | PrepareError::Seek(SeekError::Read(error))) => return Err(error),
            Err(_) => return Ok(()),
        };
        while let Some(line) = lines.next()?
            && line.seq <= last
        {
            each(&line);
        }
        Ok(())
    }

    /// A translator that has read all records up to `before`.
    fn translation_after(&self, before: u64) -> std::result::Result<Translation, ReadError> {
        let mut translation = self.translation.clone().restarted_after(before);
        let mut unused = Vec::new();
        let start = updates::replay_start(&self.state, before);
        if start < before {
            self.for_each(start, before, &mut |line| {
                translation.push_line(&line.text, &mut unused);
            })?;
        }
        Ok(translation)
    }

    fn messages(&self, sink: &Sink, bounds: Bounds, lines: &[Line]) -> Result<PreparedBatch> {
        let history = |each: &mut dyn FnMut(&Line)| self.for_each(0, bounds.last, each);
        let updates = || {
            let read = |before| self.translation_after(before);
            self.translators.translate(bounds.first, lines, read)
        };
        let batch = Batch {
            info: &self.info,
            epoch: &bounds.epoch,
            first: bounds.first,
            last: bounds.last,
            lines,
            state: &self.state,
            now: self.now,
            history: &history,
            updates: &updates,
        };
        let messages = sink.kind.messages(&batch)?;
        Ok(PreparedBatch {
            messages,
            records: u64::try_from(lines.len()).unwrap_or(u64::MAX),
            oldest: lines.first().and_then(time),
            newest: lines.last().and_then(time),
            middle: middle(lines, |lines| sink.kind.ready(lines)),
            bounds,
        })
    }
}

/// Where lines can be divided into two halves of similar size, the first of which is `ready`: its last `seq`, and its
/// bytes or half of all bytes, whichever is more. (A first half that is short because of a large next record says
/// nothing about what the backend accepts.)
fn middle(lines: &[Line], ready: impl Fn(&[Line]) -> usize) -> Option<(u64, usize)> {
    let (_, but_last) = lines.split_last()?;
    let size = |lines: &[Line]| lines.iter().map(|line| line.text.len()).sum::<usize>();
    let half = size(lines) / 2;
    let mut bytes = 0_usize;
    let fits = |line: &&Line| {
        bytes = bytes.saturating_add(line.text.len());
        bytes <= half
    };
    let count = but_last.iter().take_while(fits).count().max(1);
    let first = but_last.get(..count)?;
    let first = match ready(first) {
        0 => first,
        ready => first.get(..ready).unwrap_or(first),
    };
    Some((first.last()?.seq, size(first).max(half)))
}

/// The time of a record.
fn time(line: &Line) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Time {
        time: Timestamp,
    }
    serde_json::from_slice::<Time>(&line.text)
        .ok()
        .map(|Time { time }| time)
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
