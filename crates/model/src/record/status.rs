//! How a turn ended: status, cause, stop reason, and usage.

use serde::{Deserialize, Serialize};

/// How a turn ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The agent finished and reported success.
    Completed,
    /// It ended with an error; see `cause`.
    Failed,
    /// A caller stopped or interrupted it.
    Cancelled,
    /// It exceeded `timeout` or `idle_timeout`.
    TimedOut,
    /// How it ended is unknown; also the meaning of a word that this version does not know.
    #[default]
    Lost,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Lost,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
        }
    }
}

/// Why a turn did not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The agent ended with an error of its own.
    #[default]
    AgentError,
    /// The model's provider refused the credentials.
    Auth,
    /// The account has no quota left.
    Quota,
    /// The model's provider is overloaded.
    Overloaded,
    /// The turn took longer than `timeout`.
    Timeout,
    /// The agent wrote nothing for `idle_timeout`.
    IdleTimeout,
    /// A caller interrupted the turn.
    Interrupted,
    /// A caller stopped the turn.
    Stopped,
    /// The agent's program could not be started.
    SpawnFailed,
    /// A setup command failed.
    SetupFailed,
    /// The kernel killed the agent because memory ran out.
    OutOfMemory,
    /// The session reached `limits.session_bytes`.
    OutputLimit,
    /// The keeper died, so the exit code is unknown.
    KeeperLost,
    /// The machine was rebooted while the agent ran.
    HostRestart,
    /// The disk was full.
    DiskFull,
    /// The model's provider could not be reached, or the connection broke.
    Network,
    /// The agent no longer has the conversation that the turn was to continue.
    ConversationLost,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::AgentError,
        Self::Auth,
        Self::Quota,
        Self::Overloaded,
        Self::Timeout,
        Self::IdleTimeout,
        Self::Interrupted,
        Self::Stopped,
        Self::SpawnFailed,
        Self::SetupFailed,
        Self::OutOfMemory,
        Self::OutputLimit,
        Self::KeeperLost,
        Self::HostRestart,
        Self::DiskFull,
        Self::Network,
        Self::ConversationLost,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentError => "agent_error",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Interrupted => "interrupted",
            Self::Stopped => "stopped",
            Self::SpawnFailed => "spawn_failed",
            Self::SetupFailed => "setup_failed",
            Self::OutOfMemory => "out_of_memory",
            Self::OutputLimit => "output_limit",
            Self::KeeperLost => "keeper_lost",
            Self::HostRestart => "host_restart",
            Self::DiskFull => "disk_full",
            Self::Network => "network",
            Self::ConversationLost => "conversation_lost",
        }
    }
}

/// Why the model stopped, as ACP defines it (<https://agentclientprotocol.com/protocol/prompt-turn>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model finished its answer.
    EndTurn,
    /// The answer reached the model's token limit.
    MaxTokens,
    /// The agent reached its limit of model requests.
    MaxTurnRequests,
    /// The model refused.
    Refusal,
    /// A caller cancelled the turn.
    Cancelled,
}

/// Tokens and cost; a value is absent if the agent does not report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Usage {
    /// Tokens sent to the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens from the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Input tokens that came from the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Cost in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl Usage {
    /// Adds another turn's usage. A value that neither has stays absent.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| a.or(b).map(|_| a.unwrap_or(0).saturating_add(b.unwrap_or(0)));
        Self {
            input_tokens: add(self.input_tokens, other.input_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            cached_tokens: add(self.cached_tokens, other.cached_tokens),
            cost_usd: self
                .cost_usd
                .or(other.cost_usd)
                .map(|_| self.cost_usd.unwrap_or(0.0) + other.cost_usd.unwrap_or(0.0)),
        }
    }

    /// Subtracts `earlier`. Some agents report cumulative usage, and records have the usage per turn.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let sub = |a: Option<u64>, b: Option<u64>| a.map(|a| a.saturating_sub(b.unwrap_or(0)));
        Self {
            input_tokens: sub(self.input_tokens, earlier.input_tokens),
            output_tokens: sub(self.output_tokens, earlier.output_tokens),
            cached_tokens: sub(self.cached_tokens, earlier.cached_tokens),
            cost_usd: self
                .cost_usd
                .map(|cost| (cost - earlier.cost_usd.unwrap_or(0.0)).max(0.0)),
        }
    }
}
