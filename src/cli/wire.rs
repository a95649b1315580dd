//! What a client reads of the server's answers; unknown fields are for others.

use serde::{Deserialize, Serialize};

use promptd_model::{Cause, SessionStatus, TurnEnded, Usage};

/// A session object.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) agent: String,
    /// What its agent writes, where the server tells it.
    #[serde(default)]
    pub(super) format: Option<String>,
    pub(super) status: SessionStatus,
    #[serde(default)]
    pub(super) turns: Vec<Turn>,
    pub(super) last_seq: u64,
    pub(super) created_at: jiff::Timestamp,
    #[serde(default)]
    pub(super) sinks: Vec<Sink>,
}

/// What a session's agent writes where that is plain text.
const PLAIN_TEXT: &str = "lines";

/// A turn of a session object.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Turn {
    #[serde(rename = "turn")]
    pub(super) number: u32,
    pub(super) status: SessionStatus,
    /// The `seq` of its `prompt` record, where the server tells it.
    #[serde(default)]
    pub(super) first_seq: Option<u64>,
    #[serde(default)]
    pub(super) cause: Option<Cause>,
    #[serde(default)]
    pub(super) duration: Option<f64>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

/// A page of sessions, each as the server sent it.
#[derive(Debug, Deserialize)]
pub(super) struct SessionPage {
    pub(super) sessions: Vec<serde_json::Value>,
    #[serde(default)]
    pub(super) next: Option<String>,
}

/// The answer to `stop`.
#[derive(Debug, Deserialize)]
pub(super) struct Stopped {
    pub(super) survivors: u64,
}

/// An error (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    pub(super) title: Option<String>,
    pub(super) detail: Option<String>,
}

impl Session {
    /// All its turns are over, and there was one.
    pub(super) fn is_settled(&self) -> bool {
        !self.turns.is_empty() && is_end(self.status)
    }

    /// Its agent's bytes have words in them, which `view=updates` tells. A server that does not say so has no such view.
    pub(super) fn has_words(&self) -> bool {
        self.format.as_deref().is_some_and(|format| format != PLAIN_TEXT)
    }

    pub(super) fn turn(&self, turn: u32) -> Option<&Turn> {
        self.turns.iter().rev().find(|candidate| candidate.number == turn)
    }
}

/// The status of a turn that is over.
pub(super) fn is_end(status: SessionStatus) -> bool {
    match status {
        SessionStatus::Idle | SessionStatus::Queued | SessionStatus::Running | SessionStatus::Waiting => false,
        SessionStatus::Completed
        | SessionStatus::Failed
        | SessionStatus::Cancelled
        | SessionStatus::TimedOut
        | SessionStatus::Lost => true,
    }
}

/// A sink of a session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Sink {
    pub(super) state: String,
    pub(super) lag_records: u64,
}

/// How a turn ended, for the last line and the exit code.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TurnEnd {
    pub(super) status: SessionStatus,
    pub(super) cause: Option<Cause>,
    pub(super) error: Option<String>,
    pub(super) usage: Option<Usage>,
    /// Seconds.
    pub(super) duration: Option<f64>,
}

impl TurnEnd {
    pub(super) fn of_record(ended: TurnEnded, duration: Option<f64>) -> Self {
        Self {
            status: ended.status.into(),
            cause: ended.cause,
            error: ended.error,
            usage: ended.usage,
            duration,
        }
    }

    pub(super) fn of_turn(turn: &Turn) -> Option<Self> {
        is_end(turn.status).then_some(Self {
            status: turn.status,
            cause: turn.cause,
            error: None,
            usage: turn.usage,
            duration: turn.duration,
        })
    }
}
