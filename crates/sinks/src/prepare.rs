//! From a cursor to the messages of its next batch: reads the journal, fixes the bounds, has them written.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::cursor::{Bounds, Cursor};
use super::kinds::{About, Batch, Line, Message, Shape};
use super::lane::Lane;
use super::lines::Lines;
use super::sink::Sink;
use promptd_agents::updates::{self, Translation};
use promptd_journal::{ReadError, SeekError};
use promptd_mask::Masker;
use promptd_model::SessionState;

/// Where there is nothing that a kind wants, no more than this is read at once.
const SCAN: usize = 64 << 20;

/// What is known when a batch is prepared.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) about: About,
    pub(super) folder: PathBuf,
    pub(super) masker: Option<Arc<Masker>>,
    /// Has read nothing.
    pub(super) translation: Translation,
    pub(super) state: Arc<SessionState>,
    /// The epoch, for a batch that is cut now.
    pub(super) epoch: String,
    pub(super) now: Timestamp,
    /// Nothing follows what waits for something to follow.
    pub(super) release: bool,
    /// Writes the cursor.
    pub(super) lane: Arc<Lane>,
}

/// A batch, ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) bounds: Bounds,
    pub(super) messages: Vec<Message>,
    /// Records in it that the kind wants.
    pub(super) records: u64,
    /// When its first record was written, and its last.
    pub(super) oldest: Option<Timestamp>,
    pub(super) newest: Option<Timestamp>,
    /// Where it could be divided: the last `seq` of its first half, and half of its bytes.
    pub(super) middle: Option<(u64, usize)>,
}

/// What a look at the journal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// The last record that was looked at.
    pub(super) seen: u64,
    /// There was nothing behind it.
    pub(super) at_end: bool,
    /// Some of it waits for what follows.
    pub(super) held: bool,
}

/// Why there is no batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
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
    /// With its cause.
    pub(super) fn in_words(&self) -> String {
        let cause = std::error::Error::source(self).map(|source| format!(" ({source})"));
        format!("{self}{}", cause.unwrap_or_default())
    }
}

type Result<T> = std::result::Result<T, PrepareError>;

/// Prepares the batch that the cursor has begun, or cuts the next one; none where nothing is wanted.
pub(super) fn prepare(
    wanted: &Wanted,
    mut cursor: Cursor,
    sink: &Sink,
) -> Result<(Cursor, Option<Looked>, Option<Prepared>)> {
    let shape = sink.kind.shape();
    if let Some(bounds) = cursor.batch.clone() {
        if let Some(lines) = wanted.read(&bounds, sink)? {
            let prepared = wanted.messages(sink, bounds, &lines)?;
            return Ok((cursor, None, Some(prepared)));
        }
        // Its records are not kept any more; what is left of them is another batch.
        cursor.batch = None;
    }
    if shape.creation && !cursor.created {
        let bounds = wanted.bounds(0, 0);
        wanted.fix(&mut cursor, &bounds)?;
        let prepared = wanted.messages(sink, bounds, &[])?;
        return Ok((cursor, None, Some(prepared)));
    }
    let limit = cursor.limit.unwrap_or(shape.bytes).min(shape.bytes);
    let cut = wanted.cut(cursor.seq, sink, Shape { bytes: limit, ..shape })?;
    let Cut {
        lines,
        first,
        last,
        looked,
    } = cut;
    if lines.is_empty() {
        cursor.seq = cursor.seq.max(last);
        return Ok((cursor, Some(looked), None));
    }
    let bounds = wanted.bounds(first, last);
    wanted.fix(&mut cursor, &bounds)?;
    let prepared = wanted.messages(sink, bounds, &lines)?;
    Ok((cursor, Some(looked), Some(prepared)))
}

#[derive(Debug)]
struct Cut {
    lines: Vec<Line>,
    /// Behind the cursor; or, where records are not kept any more, the first that is, which tells of it.
    first: u64,
    last: u64,
    looked: Looked,
}

impl Wanted {
    fn open(&self, after: u64) -> Result<Lines> {
        Ok(Lines::open(&self.folder, self.masker.clone(), after)?)
    }

    fn bounds(&self, first: u64, last: u64) -> Bounds {
        let epoch = self.epoch.clone();
        Bounds { first, last, epoch }
    }

    /// Writes the bounds down, before anybody sees the batch.
    fn fix(&self, cursor: &mut Cursor, bounds: &Bounds) -> Result<()> {
        cursor.batch = Some(bounds.clone());
        self.lane.write(cursor).map_err(|source| PrepareError::Write {
            path: self.lane.path.clone(),
            source,
        })
    }

    /// The lines of a batch that was cut before; none where they are not all kept.
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

    /// The next lines behind `after` that fit into a batch.
    fn cut(&self, after: u64, sink: &Sink, shape: Shape) -> Result<Cut> {
        let mut lines = self.open(after)?;
        let (mut found, mut last) = (Vec::new(), after);
        let (mut bytes, mut scanned) = (0_usize, 0_usize);
        let mut at_end = false;
        while scanned < SCAN {
            // What the state does not know yet is no end of a batch: a retry knows it, and would say something else.
            let known = |line: &Line| line.seq <= self.state.last_seq;
            let Some(line) = lines.next()?.filter(known) else {
                at_end = true;
                break;
            };
            scanned = scanned.saturating_add(line.text.len());
            // With what stands between it and the next.
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
        let seen = last;
        let ready = match sink.kind.ready(&found) {
            // What is held back cannot wait for what does not fit beside it.
            0 if !at_end => found.len(),
            _ if self.release => found.len(),
            ready => ready,
        };
        let held = found.get(ready).map(|line| line.seq);
        if let Some(held) = held {
            found.truncate(ready);
            last = held.saturating_sub(1);
        }
        let looked = Looked {
            seen: if found.is_empty() { seen } else { last },
            at_end,
            held: held.is_some(),
        };
        Ok(Cut {
            lines: found,
            first: lines.earliest().unwrap_or(after.saturating_add(1)),
            last,
            looked,
        })
    }

    /// Tells the records behind `after`, up to `last`.
    fn read_through(&self, after: u64, last: u64, each: &mut dyn FnMut(&Line)) -> std::result::Result<(), ReadError> {
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

    /// A translation that goes on behind the record `before`.
    fn translation_behind(&self, before: u64) -> std::result::Result<Translation, ReadError> {
        let mut translation = self.translation.clone().restarted_after(before);
        let mut unsaid = Vec::new();
        let start = updates::replay_start(&self.state, before);
        if start < before {
            self.read_through(start, before, &mut |line| {
                translation.push_line(&line.text, &mut unsaid)
            })?;
        }
        Ok(translation)
    }

    fn messages(&self, sink: &Sink, bounds: Bounds, lines: &[Line]) -> Result<Prepared> {
        let history = |each: &mut dyn FnMut(&Line)| self.read_through(0, bounds.last, each);
        let updates = || {
            let read = |before| self.translation_behind(before);
            self.lane.warm.translate(bounds.first, lines, read)
        };
        let batch = Batch {
            about: &self.about,
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
        Ok(Prepared {
            messages,
            records: u64::try_from(lines.len()).unwrap_or(u64::MAX),
            oldest: lines.first().and_then(time),
            newest: lines.last().and_then(time),
            middle: middle(lines, |lines| sink.kind.ready(lines)),
            bounds,
        })
    }
}

/// Where lines could be divided into two halves of about the same size, the first of which is `ready` by itself: the
/// last `seq` of that, and its bytes or half of all, whichever is more: that it is short because a large record
/// follows says nothing of what is taken.
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

/// When a record was written.
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
