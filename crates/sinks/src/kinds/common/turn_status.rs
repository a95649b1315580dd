//! The end of a turn for backends that only know `completed` and `failed`.

use promptd_model::{Cause, SessionState, Status, Stream, TurnEnded};

/// The end of a turn, for such a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kinds) struct TurnStatus {
    /// `completed` or `failed`.
    pub(in crate::kinds) value: &'static str,
    /// Like `value`, but `error` if the agent did not end by itself.
    pub(in crate::kinds) status: &'static str,
    /// The error, if there is one.
    pub(in crate::kinds) error: Option<String>,
}

impl TurnStatus {
    pub(in crate::kinds) fn of(ended: &TurnEnded) -> Self {
        if ended.status == Status::Completed {
            return Self {
                value: "completed",
                status: "completed",
                error: None,
            };
        }
        let agent_did_not_end = matches!(
            ended.cause,
            Some(Cause::SpawnFailed | Cause::SetupFailed | Cause::KeeperLost | Cause::HostRestart | Cause::DiskFull)
        );
        let message = ended.error.clone().filter(|error| !error.is_empty());
        let error = message
            .or_else(|| ended.cause.map(wire_name))
            .unwrap_or_else(|| wire_name(ended.status));
        Self {
            value: "failed",
            status: if agent_did_not_end { "error" } else { "failed" },
            error: Some(error),
        }
    }
}

/// Whether a turn before this one did not complete.
pub(in crate::kinds) fn failed_before(state: &SessionState, turn: u32) -> bool {
    let before = state.turns.iter().filter(|before| before.turn < turn);
    before
        .filter_map(|before| before.ended())
        .any(|ended| ended.status != Status::Completed)
}

/// The name of a value in JSON.
pub(in crate::kinds) fn wire_name(of: impl serde::Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(wire_name)) => wire_name,
        Ok(_) | Err(_) => String::new(),
    }
}

/// The key of a session's text or status.
pub(in crate::kinds) fn key(agent: &str, session: &str, what: &str) -> String {
    format!("agent:{agent}:session:{session}:{what}")
}

/// The last part of the key of a stream's text.
pub(in crate::kinds) fn text_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "output",
        Stream::Stderr => "stderr",
    }
}
