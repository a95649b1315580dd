//! Permission questions of agents, and their answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient::{all_known, known};
use super::question::{AnswerDetails, AskedQuestion};

/// A permission question of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Permission {
    /// The question's id, unique in its session.
    pub id: String,
    /// A short description of what the agent wants to do.
    pub title: String,
    /// The possible answers.
    #[serde(deserialize_with = "all_known")]
    pub options: Vec<PermissionOption>,
    /// The tool call that waits, as an ACP `ToolCallUpdate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub tool_call: Option<Value>,
    /// Questions that an allowing answer has to answer in `answers`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<AskedQuestion>,
    /// An allowing answer can have `updated_input`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_input: bool,
    /// A rejecting answer can have a `reason`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_reason: bool,
    /// When the default answer is given if no caller has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
}

/// One possible answer, as in ACP (<https://agentclientprotocol.com/protocol/tool-calls#permission-options>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PermissionOption {
    /// The id to answer with.
    #[serde(rename = "optionId")]
    pub option_id: String,
    /// The label for people.
    pub name: String,
    /// The meaning of the option.
    pub kind: PermissionKind,
    /// How long what the option grants holds. Missing if the agent does not say.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub scope: Option<GrantScope>,
    /// What the option grants beyond this call, in the agent's own format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub grant: Option<Value>,
}

/// How long what an option grants holds, from short to long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantScope {
    /// Until the turn ends.
    Turn,
    /// In this session, also in its later turns.
    Session,
    /// In later sessions in this directory, too.
    Project,
    /// In all later sessions, too.
    User,
}

/// The meaning of an answer, as ACP defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionKind {
    /// Allow this call.
    AllowOnce,
    /// Allow this and later calls.
    AllowAlways,
    /// Reject this call.
    RejectOnce,
    /// Reject this and later calls.
    RejectAlways,
}

/// An answer to a permission question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionAnswer {
    /// The id of the question.
    pub id: String,
    /// The id of the chosen option, or `cancelled` if none was chosen.
    pub option: String,
    /// `caller`, `default` (nobody answered in time), `interrupt`, or `agent` (the agent withdrew the question).
    pub by: String,
    /// What it says besides.
    #[serde(flatten)]
    pub details: AnswerDetails,
}
