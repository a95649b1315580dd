//! The end of a turn, in the words of backends that know `completed` and `failed` only.

use promptd_model::{Cause, SessionState, Status, TurnEnded};

/// What such a backend is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// `completed` or `failed`.
    pub(super) value: &'static str,
    /// `error` rather than `failed` where the agent itself never came to an end.
    pub(super) status: &'static str,
    /// What went wrong, unless nothing did.
    pub(super) error: Option<String>,
}

impl Ending {
    pub(super) fn of(ended: &TurnEnded) -> Self {
        if ended.status == Status::Completed {
            return Self {
                value: "completed",
                status: "completed",
                error: None,
            };
        }
        let without_end = matches!(
            ended.cause,
            Some(Cause::SpawnFailed | Cause::SetupFailed | Cause::KeeperLost | Cause::HostRestart | Cause::DiskFull)
        );
        let said = ended.error.clone().filter(|error| !error.is_empty());
        let error = said
            .or_else(|| ended.cause.map(word))
            .unwrap_or_else(|| word(ended.status));
        Self {
            value: "failed",
            status: if without_end { "error" } else { "failed" },
            error: Some(error),
        }
    }
}

/// Whether a turn before this one did not complete.
pub(super) fn failed_before(state: &SessionState, turn: u32) -> bool {
    let before = state.turns.iter().filter(|before| before.turn < turn);
    before
        .filter_map(|before| before.ended())
        .any(|ended| ended.status != Status::Completed)
}

/// The word on the wire.
pub(super) fn word(of: impl serde::Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

/// The key under which a session's text or status is kept.
pub(super) fn key(agent: &str, session: &str, what: &str) -> String {
    format!("agent:{agent}:session:{session}:{what}")
}
