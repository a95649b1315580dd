//! What an agent says in the Agent Client Protocol, version 1 (<https://agentclientprotocol.com>), as seen with gemini
//! 0.61.0, opencode 1.18.33, qwen 0.24.4 and copilot 1.0.102.
//!
//! The ids of our own requests are fixed ([`INITIALIZE`] and so on), so that the agent's lines alone tell what is
//! answered. What is not obvious:
//! - `session/load` sends the former turns again before it answers; they are none of this turn's doing. Gemini answers
//!   in the midst of it, and is through with it when it tells its commands.
//! - Tokens stand in the prompt's result (`usage`, not yet in the standard), in its `_meta` (gemini), or in the `_meta`
//!   of an empty piece of text after each of the model's answers (qwen). Opencode reports its last answer only.
//! - Some count cached input as a part of the input, some beside it; the total tells which.
//! - Copilot says `end_turn` when the model's API fails, and writes "Error: …" as the agent's message. Only the counts
//!   of tokens are missing then, or an HTTP status comes first in the message.
//! - Gemini sends no `tool_call` before it asks whether it may; the call stands in the question alone.

mod observer;
mod updates;

pub(crate) use observer::Reader;

use agent_client_protocol_schema::v1::{AGENT_METHOD_NAMES, RequestId, StopReason as AcpStopReason};
use serde::Deserialize;

use super::super::observe::lenient;
use super::Format;
use promptd_model::Usage;

pub(crate) static ACP: Format = Format {
    name: "acp",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(updates::Updates::default())),
};

/// The id of our `initialize`.
pub(crate) const INITIALIZE: i64 = 1;
/// The id of our `session/new`, `session/resume` or `session/load`.
pub(crate) const SESSION: i64 = 2;
/// The id of our `session/prompt`.
pub(crate) const PROMPT: i64 = 3;
/// The id of our request to take a model.
pub(crate) const MODEL: i64 = 4;

/// ACP's code for "authentication is needed before this can be done".
pub(crate) const AUTH_REQUIRED: i64 = -32000;

/// The method of a notification that cancels a turn.
pub(crate) const CANCEL: &str = AGENT_METHOD_NAMES.session_cancel;

/// Where the turn begins in the agent's lines.
#[derive(Default, Clone)]
struct Opening {
    agent: AgentName,
    /// Something of former turns was sent again.
    replays: bool,
    /// The session was answered for.
    answered: bool,
    /// What comes now belongs to this turn.
    ready: bool,
}

/// Agents that need more than the protocol.
#[derive(Default, Clone, PartialEq, Eq)]
enum AgentName {
    Gemini,
    Copilot,
    #[default]
    Other,
}

impl Opening {
    fn result(&mut self, id: &RequestId, result: &str) {
        match id {
            RequestId::Number(INITIALIZE) => {
                let result = serde_json::from_str::<InitializeResult>(result).unwrap_or_default();
                self.agent = match result.agent_info.name.as_str() {
                    GEMINI => AgentName::Gemini,
                    "Copilot" => AgentName::Copilot,
                    _ => AgentName::Other,
                };
            }
            RequestId::Number(SESSION) => {
                self.answered = true;
                self.ready = self.agent != AgentName::Gemini || !self.replays;
            }
            _ => {}
        }
    }

    fn update(&mut self, kind: &str) {
        self.replays |= !self.answered && kind.ends_with("_chunk");
        self.ready |= self.answered && kind == "available_commands_update";
    }
}

/// The name with which gemini answers `initialize`.
pub(crate) const GEMINI: &str = "gemini-cli";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InitializeResult {
    #[serde(deserialize_with = "lenient")]
    agent_info: AgentInfo,
}

#[derive(Deserialize, Default)]
struct AgentInfo {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptResult {
    stop_reason: AcpStopReason,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Tokens>,
    #[serde(default, rename = "_meta", deserialize_with = "lenient")]
    meta: Option<Meta>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    #[serde(deserialize_with = "lenient")]
    usage: Option<Tokens>,
    #[serde(deserialize_with = "lenient")]
    quota: Option<Quota>,
}

#[derive(Deserialize)]
struct Quota {
    token_count: QuotaTokens,
}

#[derive(Deserialize)]
struct QuotaTokens {
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "they are the wire's")]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: Option<u64>,
    cached_read_tokens: Option<u64>,
    cached_write_tokens: Option<u64>,
}

impl Tokens {
    fn usage(&self) -> Usage {
        let beside = self
            .cached_read_tokens
            .unwrap_or(0)
            .saturating_add(self.cached_write_tokens.unwrap_or(0));
        let all = self.input_tokens.saturating_add(beside);
        let is_beside = self
            .total_tokens
            .is_some_and(|total| all.saturating_add(self.output_tokens) <= total);
        Usage {
            input_tokens: Some(if is_beside { all } else { self.input_tokens }),
            output_tokens: Some(self.output_tokens),
            cached_tokens: self.cached_read_tokens,
            cost_usd: None,
        }
    }
}

impl PromptResult {
    fn usage(&self) -> Option<Usage> {
        let meta = self.meta.as_ref();
        let tokens = self.usage.as_ref().or_else(|| meta?.usage.as_ref());
        tokens.map(Tokens::usage).or_else(|| {
            let tokens = &meta?.quota.as_ref()?.token_count;
            Some(Usage {
                input_tokens: Some(tokens.input_tokens),
                output_tokens: Some(tokens.output_tokens),
                ..Usage::default()
            })
        })
    }
}
