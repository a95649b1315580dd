//! A line of the view, and where reading has to start.

use bytes::Bytes;
use memchr::memmem;

use crate::output::update::Update;
use promptd_model::{Head, RecordKind, SessionState, parse_head};

/// The type of an update, where a record has its own type.
const UPDATE: &str = "update";

/// One line of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The record that it comes from. For a line that is no record, the one before it.
    pub seq: u64,
    /// The line, without its newline.
    pub text: Bytes,
    /// Whether it is the last line of its record: a reader that has it continues after `seq`.
    pub last: bool,
    /// The turn of an update; a record has its own.
    pub(super) update_of: Option<u32>,
}

impl Line {
    /// A line of the journal.
    pub fn journal(seq: u64, text: Bytes) -> Self {
        Self {
            seq,
            text,
            last: true,
            update_of: None,
        }
    }

    /// The head of the record or of the update; `None` for a line of the journal that is no record.
    pub fn head(&self) -> Option<Head<'_>> {
        match self.update_of {
            None => parse_head(&self.text),
            Some(turn) => Some(Head {
                seq: self.seq,
                turn,
                kind: RecordKind::Other(UPDATE),
            }),
        }
    }
}

/// The record after which reading has to start, so that the lines after the record `after` are the same as if reading had
/// started at the first record. No line of output is open after the end of a turn or before the start of an attempt.
pub fn replay_start(state: &SessionState, after: u64) -> u64 {
    let ends = state.turns.iter().map(|turn| (turn.ended_seq, turn.ended_seq));
    // The record of the start itself is needed.
    let starts = state
        .turns
        .iter()
        .map(|turn| (turn.started_seq, turn.started_seq.saturating_sub(1)));
    let candidates = ends.chain(starts).filter(|(seq, _)| *seq <= after);
    candidates.map(|(_, start)| start).max().unwrap_or(0)
}

/// A record's `seq`, `time` and `turn`, as they are at its beginning.
pub(super) fn head_of(line: &[u8]) -> &[u8] {
    let end = memmem::find(line, b"\"type\":").unwrap_or(0);
    line.get(..end).unwrap_or_default()
}

pub(super) fn update_line(begin: &[u8], index: Option<usize>, update: &Update) -> Bytes {
    let mut text = begin.to_vec();
    if let Some(index) = index {
        text.extend_from_slice(format!("\"index\":{index},").as_bytes());
    }
    text.extend_from_slice(b"\"update\":");
    // Writing to a Vec cannot fail, and every update can be JSON.
    let _written = serde_json::to_writer(&mut text, update);
    text.push(b'}');
    text.into()
}
