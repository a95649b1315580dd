//! What the turns before have used: tokens of the conversation, and the session's cost.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::output::usage::Earlier;
use promptd_model::{SessionState, Usage};

/// The turns before the one that is read.
#[derive(Clone, Default)]
pub(super) struct Past {
    pub(super) used: Earlier,
    /// The turns that begin a new conversation of the agent.
    fresh: BTreeSet<u32>,
}

impl Past {
    /// The turns that have ended up to this record.
    pub(super) fn of(state: &SessionState, seq: u64) -> Self {
        let mut past = Self::default();
        for turn in &state.turns {
            past.accept(turn.turn, turn.fresh);
            if (1..=seq).contains(&turn.ended_seq) {
                past.start(turn.turn);
                past.used.add(turn.ended().and_then(|ended| ended.usage));
            }
        }
        past
    }

    /// A turn was accepted.
    pub(super) fn accept(&mut self, turn: u32, is_fresh: bool) {
        if is_fresh {
            self.fresh.insert(turn);
        }
    }

    /// The agent's process was started for a turn.
    pub(super) fn start(&mut self, turn: u32) {
        if self.fresh.contains(&turn) {
            self.used.conversation = Usage::default();
            self.used.has_unknown = false;
        }
    }

    /// A turn has ended; the line is its record.
    pub(super) fn end(&mut self, line: &[u8]) {
        #[derive(Deserialize)]
        struct Ended {
            usage: Option<Usage>,
        }
        if let Ok(Ended { usage }) = serde_json::from_slice(line) {
            self.used.add(usage);
        }
    }
}
