//! The parts of the server's answers that a client uses. Servers may be older or newer: other fields are ignored, and most
//! are optional.

use serde::{Deserialize, Serialize};

use promptd_model::{Cause, SessionStatus, TurnEnded, Usage};

/// A session object.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) agent: String,
    /// The format of its agent's output, where the server says it.
    #[serde(default)]
    pub(crate) format: Option<String>,
    pub(crate) status: SessionStatus,
    #[serde(default)]
    pub(crate) turns: Vec<Turn>,
    pub(crate) last_seq: u64,
    pub(crate) created_at: jiff::Timestamp,
    #[serde(default)]
    pub(crate) sinks: Vec<Sink>,
}

/// The format of plain text.
const PLAIN_TEXT: &str = "lines";

/// A turn of a session object.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Turn {
    #[serde(rename = "turn")]
    pub(crate) number: u32,
    pub(crate) status: SessionStatus,
    /// The `seq` of its `prompt` record, where the server says it.
    #[serde(default)]
    pub(crate) first_seq: Option<u64>,
    #[serde(default)]
    pub(crate) cause: Option<Cause>,
    #[serde(default)]
    pub(crate) exit_code: Option<i32>,
    #[serde(default)]
    pub(crate) duration: Option<f64>,
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
}

/// A page of sessions, each as the server sent it.
#[derive(Debug, Deserialize)]
pub(crate) struct SessionPage {
    pub(crate) sessions: Vec<serde_json::Value>,
    #[serde(default)]
    pub(crate) next: Option<String>,
}

/// The answer to `stop`.
#[derive(Debug, Deserialize)]
pub(crate) struct Stopped {
    pub(crate) survivors: u64,
}

/// An error (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) title: Option<String>,
    pub(crate) detail: Option<String>,
}

impl Session {
    /// Whether all turns have ended, and there was one.
    pub(crate) fn is_settled(&self) -> bool {
        !self.turns.is_empty() && is_end(self.status)
    }

    /// Whether `view=updates` shows more than plain text. A server that does not say so has no such view.
    pub(crate) fn has_updates(&self) -> bool {
        self.format.as_deref().is_some_and(|format| format != PLAIN_TEXT)
    }

    pub(crate) fn turn(&self, turn: u32) -> Option<&Turn> {
        self.turns.iter().rev().find(|candidate| candidate.number == turn)
    }
}

/// Whether a turn with this status has ended.
pub(crate) fn is_end(status: SessionStatus) -> bool {
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
pub(crate) struct Sink {
    pub(crate) state: String,
    pub(crate) lag_records: u64,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TurnEnd {
    pub(crate) status: SessionStatus,
    pub(crate) cause: Option<Cause>,
    pub(crate) error: Option<String>,
    /// The exit code of the agent's process.
    pub(crate) exit_code: Option<i32>,
    pub(crate) usage: Option<Usage>,
    /// Seconds.
    pub(crate) duration: Option<f64>,
}

impl TurnEnd {
    pub(crate) fn of_record(ended: TurnEnded, exit_code: Option<i32>, duration: Option<f64>) -> Self {
        Self {
            status: ended.status.into(),
            cause: ended.cause,
            error: ended.error,
            exit_code,
            usage: ended.usage,
            duration,
        }
    }

    pub(crate) fn of_turn(turn: &Turn) -> Option<Self> {
        is_end(turn.status).then_some(Self {
            status: turn.status,
            cause: turn.cause,
            error: None,
            exit_code: turn.exit_code,
            usage: turn.usage,
            duration: turn.duration,
        })
    }
}
