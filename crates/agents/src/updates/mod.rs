//! `view=updates`: the journal in the words of ACP's `session/update`, the same for every agent.
//!
//! Owns the way from the journal's lines, secrets hidden already, to the lines of this view: what an agent wrote is
//! put together to lines and given to its translator, prompts are updates, too, and every other record stays as it is.
//!
//! ```text
//! {"seq":17,"time":"…","turn":1,"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"…"}}}
//! ```
//!
//! What becomes of a record is told under its own `seq`: of several lines each carries an `index`, and where the record
//! itself stays, it comes behind them. A record that only continues a line gives none.
//!
//! Promises that nothing is dropped: a line that no translator knows, all of standard error, what a setup wrote and what
//! came after its turn's end are `_raw` updates. And that it makes no difference where reading begins: what lies before
//! the cursor back to [`begin`] is read for what it leaves open, and not given.
//!
//! Pure: no clock, no I/O. May use `agents`, `journal`'s codec and `model` only.

mod attempt;
mod translation;

use bytes::Bytes;

pub use translation::Translation;

use promptd_model::SessionState;
use promptd_model::{Head, RecordKind, parse_head};

/// The type by which an update goes where records go by theirs.
const UPDATE: &str = "update";

/// One line of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The record that it comes from; of a line that is no record, the one before it.
    pub seq: u64,
    /// The line, without its newline.
    pub text: Bytes,
    /// Nothing more comes from this record: a reader that has this line goes on behind `seq`.
    pub last: bool,
    /// The turn of an update; a record tells its own.
    update_of: Option<u32>,
}

impl Line {
    /// What it is; `None` for a line of the journal that is no record.
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

/// Behind which record reading has to begin, so that what follows the record `after` is told as if reading had begun
/// at the first: nothing is open behind a turn's end, nor behind what the beginning of an attempt leaves behind it.
pub fn begin(state: &SessionState, after: u64) -> u64 {
    let ends = state.turns.iter().map(|turn| (turn.ended_seq, turn.ended_seq));
    // The record of the beginning itself is needed.
    let begins = state
        .turns
        .iter()
        .map(|turn| (turn.started_seq, turn.started_seq.saturating_sub(1)));
    let read = ends.chain(begins).filter(|(seq, _)| *seq <= after);
    read.map(|(_, begin)| begin).max().unwrap_or(0)
}

#[cfg(test)]
mod support_tests;
