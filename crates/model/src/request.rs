//! What a caller asks for when it creates a session.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::SessionId;
use super::mcp::McpServer;
use super::outcome::Status;
use super::repo::RepoRequest;
use super::sink::SinkRequest;

/// The body of `POST /v1/sessions`, and, once accepted, what `session.json` keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The agent's name; the configured default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The first turn's prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The session's id, chosen by the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<SessionId>,
    /// The working directory, relative to the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Text for the agent's system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Environment for the agent, over the server's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Arguments for the agent's program, after ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// What the agent may do without asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<PermissionMode>,
    /// With `permission: "ask"`: seconds until a question that nobody answered gets `permission_default`; 600 when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_timeout: Option<f64>,
    /// With `permission: "ask"`: what a question that nobody answered gets; `reject` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_default: Option<PermissionDefault>,
    /// Standard input: none, or open for `POST …/input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<StdinMode>,
    /// The most seconds a turn may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// The most seconds a turn may go without output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<f64>,
    /// The most model requests in a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// The tools the agent may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// Servers of tools for the agent, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// A repository that is cloned before the first agent starts, which then works in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoRequest>,
    /// Commands that run one after the other in the agent's working directory, behind the clone and before the
    /// first agent starts; each is a shell of its own (`bash -c`, or `sh -c` where there is no bash). One that fails
    /// ends the turn as `setup_failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<String>,
    /// Whether and when a turn that failed is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Where the journal is pushed to, besides the sinks of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<SinkRequest>,
    /// Whether values that are known to be secret are replaced by `***` in what leaves: events, output, sinks;
    /// true when absent. The journal on the disk stays exact in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<bool>,
    /// The caller's own data, given back as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

/// What an agent may do without asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionMode {
    /// Everything: the sandbox is the boundary.
    #[default]
    Bypass,
    /// Nothing that the agent itself would ask for: its questions become `permission` records, the session waits,
    /// and a caller answers. Only for agents that can be asked to ask.
    Ask,
}

/// The answer to a question that no caller answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionDefault {
    /// The agent may not.
    #[default]
    Reject,
    /// It may, this once.
    Allow,
}

/// What an agent's standard input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StdinMode {
    /// What the agent needs for its prompt, and else `/dev/null`: never left open by accident.
    #[default]
    Closed,
    /// A FIFO that stays open until `POST …/input?close=true`.
    Open,
}

/// Whether and when a turn that failed is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The most further attempts.
    pub max: u32,
    /// Seconds before each.
    #[serde(default = "five_seconds")]
    pub delay: f64,
    /// After which ends.
    #[serde(default = "failed")]
    pub on: Vec<Status>,
}

fn five_seconds() -> f64 {
    5.0
}

fn failed() -> Vec<Status> {
    vec![Status::Failed]
}
