//! What one turn of a session takes over from the turns before it: the agent's conversation, usage, and what was granted.

use std::sync::Arc;

use serde_json::Value;

use super::state::{SessionState, TurnState};
use crate::record::Usage;

impl SessionState {
    /// The agent's own session id, from the last turn of its conversation that reported one.
    pub fn agent_session_id(&self) -> Option<&str> {
        find_id(self.conversation_before(u32::MAX))
    }

    /// The agent's own session that a turn continues; `None` if it begins a new one.
    pub fn resumed_session_id(&self, turn: u32) -> Option<&str> {
        find_id(self.conversation_before(turn))
    }

    /// The turns that an agent has begun in this turn's conversation, if it has stored nothing of any of them: it knows
    /// nothing of them then.
    pub fn forgotten_before(&self, turn: u32) -> Vec<u32> {
        if self.resumed_session_id(turn).is_some() {
            return Vec::new();
        }
        let began = |before: &&TurnState| before.started.is_some() && before.setup.is_none();
        let mut turns: Vec<u32> = self
            .conversation_before(turn)
            .filter(began)
            .map(|before| before.turn)
            .collect();
        turns.reverse();
        turns
    }

    /// The usage of the turns before this one, in the same conversation of the agent.
    pub fn usage_before(&self, turn: u32) -> Usage {
        let usage = self.conversation_before(turn).filter_map(|turn| turn.ended()?.usage);
        usage.fold(Usage::default(), Usage::plus)
    }

    /// The turns before this one that belong to the same conversation of the agent, newest first.
    fn conversation_before(&self, turn: u32) -> impl Iterator<Item = &TurnState> {
        let mut is_over = false;
        let turns = self.turns.iter().rev().map(Arc::as_ref);
        let from = turns.skip_while(move |state| state.turn > turn);
        from.take_while(move |state| !std::mem::replace(&mut is_over, state.fresh))
            .filter(move |state| state.turn < turn)
    }

    /// What callers have granted the agent for the whole session, oldest first.
    pub fn session_grants(&self) -> impl Iterator<Item = &Value> {
        let answers = self.turns.iter().flat_map(|turn| &turn.answers);
        answers.filter_map(|given| given.session_grant())
    }
}

fn find_id<'a>(mut turns: impl Iterator<Item = &'a TurnState>) -> Option<&'a str> {
    turns.find_map(|turn| turn.ended()?.agent_session_id.as_deref())
}
