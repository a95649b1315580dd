//! The request that creates a session.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::mcp::McpServer;
use super::repo::RepoRequest;
use super::sink::SinkRequest;
use crate::id::SessionId;
use crate::record::{Cause, PromptContent, Status};

/// The body of `POST /v1/sessions`. An accepted request is stored in `session.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The agent's name; the configured default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The first turn's prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptContent>,
    /// The session's id, chosen by the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<SessionId>,
    /// The working directory, relative to the workspace, which is the default. `new`: a folder under the workspace that no
    /// other session has, with a name made from the session's id. (`./new` is a folder with the name `new`.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The agent's system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Environment variables for the agent, in addition to the server's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Arguments for the agent's program, after those from promptd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// What the agent may do without asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<PermissionMode>,
    /// With `permission: "ask"`: seconds until an unanswered question gets `permission_default`; 600 when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_timeout: Option<f64>,
    /// With `permission: "ask"`: the answer to an unanswered question; `reject` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_default: Option<PermissionDefault>,
    /// The agent can be sent messages while a turn runs (`"when": "now"`), although it asks nothing. With
    /// `permission: "ask"` it always can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub steerable: bool,
    /// Standard input: closed, or open for `POST …/input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<StdinMode>,
    /// Maximum seconds for a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Maximum seconds without output in a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<f64>,
    /// Maximum model requests in a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// The tools the agent may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// MCP servers for the agent, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// A repository that is cloned before the first agent starts. Agents then work in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoRequest>,
    /// Commands that run one after another in the agent's working directory, after the clone and before the
    /// first agent starts. Each runs in its own shell (`bash -c`, or `sh -c` if there is no bash). If one fails, the
    /// turn fails with `setup_failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<String>,
    /// Whether and when a failed turn is retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Destinations of the journal, in addition to the configured sinks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<SinkRequest>,
    /// Whether known secrets are replaced by `***` in events, output and sinks;
    /// true when absent. The journal on disk is never masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<bool>,
    /// The caller's own data, returned unchanged.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

impl SessionRequest {
    /// Whether the session gets a working directory of its own.
    pub fn wants_own_folder(&self) -> bool {
        self.cwd.as_deref() == Some("new")
    }
}

/// What an agent may do without asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionMode {
    /// Everything: the sandbox is the boundary.
    #[default]
    Bypass,
    /// Nothing that the agent itself asks about: its questions become `permission` records, the session waits,
    /// and a caller answers. Not all agents support this.
    Ask,
}

/// When the agent gets a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// As the next turn, after those before it.
    #[default]
    Next,
    /// In the turn that runs.
    Now,
}

/// The answer to a question that no caller answers in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionDefault {
    /// Reject.
    #[default]
    Reject,
    /// Allow once.
    Allow,
}

/// The agent's standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StdinMode {
    /// The prompt, if the agent reads it there, otherwise `/dev/null`.
    #[default]
    Closed,
    /// A FIFO that stays open until `POST …/input?close=true`.
    Open,
}

/// Whether and when a failed turn is retried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Maximum number of retries.
    pub max: u32,
    /// Seconds before each retry.
    #[serde(default = "default_delay")]
    pub delay: f64,
    /// The statuses (such as `failed`) and causes (such as `network`) that are retried; `failed` when absent.
    #[serde(default = "default_statuses")]
    #[schema(value_type = Vec<String>)]
    pub on: Vec<RetryOn>,
}

/// What is retried: turns with this status, or with this cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum RetryOn {
    /// A status.
    Status(Status),
    /// A cause.
    Cause(Cause),
}

impl RetryOn {
    /// Whether a turn that ended like this is retried.
    pub fn includes(self, status: Status, cause: Option<Cause>) -> bool {
        match self {
            Self::Status(wanted) => status == wanted,
            // A turn whose time ran out can have the cause of what it was trying again.
            Self::Cause(wanted @ (Cause::Timeout | Cause::IdleTimeout)) => {
                let has_other = !matches!(cause, Some(Cause::Timeout | Cause::IdleTimeout));
                cause == Some(wanted) || (status == Status::TimedOut && has_other)
            }
            Self::Cause(wanted) => cause == Some(wanted),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let statuses = Status::ALL.into_iter().map(Self::Status);
        statuses.chain(Cause::ALL.into_iter().map(Self::Cause))
    }
}

impl From<RetryOn> for &'static str {
    fn from(on: RetryOn) -> Self {
        match on {
            RetryOn::Status(status) => status.name(),
            RetryOn::Cause(cause) => cause.name(),
        }
    }
}

impl TryFrom<String> for RetryOn {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let mut all = Self::all();
        all.find(|on| <&str>::from(*on) == name).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(<&str>::from).collect();
            format!("unknown status or cause {name:?}, expected one of {}", names.join(", "))
        })
    }
}

fn default_delay() -> f64 {
    5.0
}

fn default_statuses() -> Vec<RetryOn> {
    vec![RetryOn::Status(Status::Failed)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_on_timeout_includes_one_with_another_cause() {
        let timeout = RetryOn::Cause(Cause::Timeout);
        assert!(timeout.includes(Status::TimedOut, Some(Cause::Timeout)));
        assert!(timeout.includes(Status::TimedOut, Some(Cause::Overloaded)));
        assert!(!timeout.includes(Status::TimedOut, Some(Cause::IdleTimeout)));
        assert!(!timeout.includes(Status::Failed, Some(Cause::Overloaded)));
    }
}
