//! The ids of our requests, where a turn begins in the agent's lines, and token counts.

use agent_client_protocol_schema::v1::{AGENT_METHOD_NAMES, RequestId, StopReason as AcpStopReason};
use serde::Deserialize;

use crate::output::lines::lenient::default_on_error;
use promptd_model::Usage;

/// The id of our `initialize`.
pub(crate) const INITIALIZE: i64 = 1;
/// The id of our `session/new`, `session/resume` or `session/load`.
pub(crate) const SESSION: i64 = 2;
/// The id of our `session/prompt`.
pub(crate) const PROMPT: i64 = 3;
/// The id of our request to take a model.
pub(crate) const MODEL: i64 = 4;
/// The id of our `authenticate`.
pub(crate) const AUTHENTICATE: i64 = 5;
/// The id of our request to take the mode in which the agent asks.
pub(crate) const MODE: i64 = 6;

/// ACP's error code for "authentication required".
pub(crate) const AUTH_REQUIRED: i64 = -32000;

/// The method of a notification that cancels a turn.
pub(crate) const CANCEL: &str = AGENT_METHOD_NAMES.session_cancel;

/// Finds where this turn begins in the agent's lines.
#[derive(Default, Clone)]
pub(crate) struct Opening {
    pub(crate) agent: AgentName,
    /// The agent has replayed something of former turns.
    replays: bool,
    /// The agent has responded to the request for the session.
    has_session: bool,
    /// What follows belongs to this turn.
    pub(crate) ready: bool,
}

/// Agents that need special treatment.
#[derive(Default, Clone, PartialEq, Eq)]
pub(crate) enum AgentName {
    Gemini,
    Copilot,
    Opencode,
    /// Mistral's.
    Vibe,
    #[default]
    Other,
}

impl Opening {
    /// Takes the response to one of our requests.
    pub(crate) fn take_response(&mut self, id: &RequestId, result: &str) {
        match id {
            RequestId::Number(INITIALIZE) => {
                let result = serde_json::from_str::<InitializeResult>(result).unwrap_or_default();
                self.agent = match result.agent_info.name.as_str() {
                    GEMINI => AgentName::Gemini,
                    "Copilot" => AgentName::Copilot,
                    "@mistralai/mistral-vibe" => AgentName::Vibe,
                    name if name.eq_ignore_ascii_case("opencode") => AgentName::Opencode,
                    _ => AgentName::Other,
                };
            }
            RequestId::Number(SESSION) => {
                self.has_session = true;
                self.ready = self.agent != AgentName::Gemini || !self.replays;
            }
            _ => {}
        }
    }

    /// Takes an update of this kind.
    pub(crate) fn take_update(&mut self, kind: &str) {
        self.replays |= !self.has_session && kind.ends_with("_chunk");
        self.ready |= self.has_session && kind == "available_commands_update";
    }
}

/// The name that gemini gives in its response to `initialize`.
pub(crate) const GEMINI: &str = "gemini-cli";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InitializeResult {
    #[serde(deserialize_with = "default_on_error")]
    agent_info: AgentInfo,
}

#[derive(Deserialize, Default)]
struct AgentInfo {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PromptResult {
    pub(crate) stop_reason: AcpStopReason,
    #[serde(default, deserialize_with = "default_on_error")]
    usage: Option<Tokens>,
    #[serde(default, rename = "_meta", deserialize_with = "default_on_error")]
    meta: Option<Meta>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Meta {
    #[serde(deserialize_with = "default_on_error")]
    pub(crate) usage: Option<Tokens>,
    #[serde(deserialize_with = "default_on_error")]
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
#[expect(clippy::struct_field_names, reason = "the names are those of the protocol")]
pub(crate) struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: Option<u64>,
    cached_read_tokens: Option<u64>,
    cached_write_tokens: Option<u64>,
}

impl Tokens {
    pub(crate) fn usage(&self) -> Usage {
        let cached = self
            .cached_read_tokens
            .unwrap_or(0)
            .saturating_add(self.cached_write_tokens.unwrap_or(0));
        let all = self.input_tokens.saturating_add(cached);
        let is_separate = self
            .total_tokens
            .is_some_and(|total| all.saturating_add(self.output_tokens) <= total);
        Usage {
            input_tokens: Some(if is_separate { all } else { self.input_tokens }),
            output_tokens: Some(self.output_tokens),
            cached_tokens: self.cached_read_tokens,
            cost_usd: None,
        }
    }
}

impl PromptResult {
    pub(crate) fn usage(&self) -> Option<Usage> {
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
