//! What a session is doing, as one word.

use serde::{Deserialize, Serialize};

use crate::record::Status;

/// What a session is doing, or how its last turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// No turn yet.
    Idle,
    /// A turn waits in the queue.
    Queued,
    /// A turn runs.
    Running,
    /// The agent waits for an answer.
    Waiting,
    /// The last turn completed.
    Completed,
    /// The last turn failed.
    Failed,
    /// The last turn was cancelled.
    Cancelled,
    /// The last turn exceeded a timeout.
    TimedOut,
    /// How the last turn ended is unknown.
    Lost,
}

impl SessionStatus {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Lost,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
        }
    }
}

impl From<Status> for SessionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
            Status::TimedOut => Self::TimedOut,
            Status::Lost => Self::Lost,
        }
    }
}
