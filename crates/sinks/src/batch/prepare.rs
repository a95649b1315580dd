//! Prepares the messages of a batch: reads the journal, chooses the bounds, and writes them to disk.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::cursor::{Bounds, Cursor, CursorFile};
use super::cut::{Cut, Limits, Scan, cut, middle};
use super::journal_lines::JournalLines;
use super::translator_cache::TranslatorCache;
use crate::kinds::{Batch, Line, Message};
use crate::sink::Sink;
use crate::source::SessionInfo;
use promptd_agents::updates::{self, Translation};
use promptd_journal::{ReadError, SeekError};
use promptd_mask::Masker;
use promptd_model::SessionState;

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
        let prepared = context.begin(&mut cursor, sink, (0, 0), &[])?;
        return Ok((cursor, None, Some(prepared)));
    }
    let limits = Limits {
        bytes: cursor.limit.unwrap_or(shape.bytes).min(shape.bytes),
        single: shape.single,
        last_seq: context.state.last_seq,
        release_held: context.release_held,
    };
    let Cut {
        lines,
        first,
        last,
        scan,
    } = cut(context.open(cursor.seq)?, cursor.seq, &*sink.kind, limits)?;
    if lines.is_empty() {
        cursor.seq = cursor.seq.max(last);
        return Ok((cursor, Some(scan), None));
    }
    let prepared = context.begin(&mut cursor, sink, (first, last), &lines)?;
    Ok((cursor, Some(scan), Some(prepared)))
}

impl BatchContext {
    fn open(&self, after: u64) -> Result<JournalLines> {
        Ok(JournalLines::open(&self.folder, self.masker.clone(), after)?)
    }

    /// Begins a batch: writes its bounds to disk before anybody sees it.
    fn begin(
        &self,
        cursor: &mut Cursor,
        sink: &Sink,
        (first, last): (u64, u64),
        lines: &[Line],
    ) -> Result<PreparedBatch> {
        let epoch = self.epoch.clone();
        let bounds = Bounds { first, last, epoch };
        cursor.batch = Some(bounds.clone());
        self.file.write(cursor).map_err(|source| PrepareError::Write {
            path: self.file.path().to_owned(),
            source,
        })?;
        self.messages(sink, bounds, lines)
    }

    /// The lines of an earlier batch; `None` if some were deleted.
    fn read(&self, bounds: &Bounds, sink: &Sink) -> Result<Option<Vec<Line>>> {
        let mut found = Vec::new();
        if bounds.first == 0 {
            return Ok(Some(found));
        }
        let mut lines = self.open(bounds.first.saturating_sub(1))?;
        for expected in bounds.first..=bounds.last {
            match lines.next()? {
                Some(line) if line.seq == expected => {
                    found.extend(Some(line).filter(|line| sink.kind.wants_line(line)));
                }
                Some(_) | None => return Ok(None),
            }
        }
        Ok(Some(found))
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
        let mut translation = self.translation.clone().restarted_after(before, &self.state);
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
            oldest: lines.first().and_then(Line::time),
            newest: lines.last().and_then(Line::time),
            middle: middle(lines, |lines| sink.kind.ready(lines)),
            bounds,
        })
    }
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
