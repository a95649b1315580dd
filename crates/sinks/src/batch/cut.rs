//! Which records are the next batch, and where a batch that was too large can be divided.

use super::journal_lines::JournalLines;
use crate::kinds::{Kind, Line};
use promptd_journal::ReadError;

/// Maximum bytes that are scanned at once for records that the kind wants.
const MAX_SCAN: usize = 64 << 20;

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

/// Where a batch has to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Maximum bytes of records, each with a separator. A single record may be larger.
    pub(super) bytes: usize,
    /// At most one record.
    pub(super) single: bool,
    /// Records that the state does not include yet stay out: a retry would know more and send other bytes.
    pub(super) last_seq: u64,
    /// No more records will follow, so held records are sent.
    pub(super) release_held: bool,
}

/// The records of a batch.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) lines: Vec<Line>,
    /// The `seq` after the cursor, or the first kept record, which says that records were deleted.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) scan: Scan,
}

/// The next lines after `after` that fit into a batch. `journal` is at `after`.
pub(super) fn cut(mut journal: JournalLines, after: u64, kind: &dyn Kind, limits: Limits) -> Result<Cut, ReadError> {
    let (mut lines, mut last) = (Vec::new(), after);
    let (mut bytes, mut scanned) = (0_usize, 0_usize);
    let mut at_end = false;
    while scanned < MAX_SCAN {
        let Some(line) = journal.next()?.filter(|line| line.seq <= limits.last_seq) else {
            at_end = true;
            break;
        };
        scanned = scanned.saturating_add(line.text.len());
        if kind.wants_line(&line) {
            bytes = bytes.saturating_add(line.text.len()).saturating_add(1);
            if bytes > limits.bytes && !lines.is_empty() {
                break;
            }
            last = line.seq;
            lines.push(line);
            if limits.single {
                break;
            }
        } else {
            last = line.seq;
        }
    }
    let scanned_to = last;
    let ready = match kind.ready(&lines) {
        // Held records cannot wait for records that do not fit into the same batch.
        0 if !at_end => lines.len(),
        _ if limits.release_held => lines.len(),
        ready => ready,
    };
    let held = lines.get(ready).map(|line| line.seq);
    if let Some(held) = held {
        lines.truncate(ready);
        last = held.saturating_sub(1);
    }
    let scan = Scan {
        last: if lines.is_empty() { scanned_to } else { last },
        at_end,
        held: held.is_some(),
    };
    Ok(Cut {
        lines,
        first: journal.earliest().unwrap_or(after.saturating_add(1)),
        last,
        scan,
    })
}

/// Where lines can be divided into two halves of similar size, the first of which is `ready`: its last `seq`, and its
/// bytes or half of all bytes, whichever is more. (A first half that is short because of a large next record says
/// nothing about what the backend accepts.)
pub(super) fn middle(lines: &[Line], ready: impl Fn(&[Line]) -> usize) -> Option<(u64, usize)> {
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
