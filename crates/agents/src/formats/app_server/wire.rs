//! The ids of our requests, the ids of thread and turn, and token counts.

use agent_client_protocol_schema::v1::RequestId;
use serde::Deserialize;
use serde_json::Value;

use crate::output::lines::lenient::default_on_error;
use promptd_model::Usage;

/// The id of our `initialize`.
pub(crate) const INITIALIZE: i64 = 1;
/// The id of our `thread/start` or `thread/resume`.
pub(crate) const THREAD: i64 = 2;
/// The id of our `turn/start`.
pub(crate) const TURN: i64 = 3;
/// The id of our `turn/interrupt`.
pub(crate) const INTERRUPT: i64 = 4;

/// The thread and the turn that the lines belong to.
#[derive(Default, Clone)]
pub(crate) struct TurnIds {
    pub(crate) thread: Option<String>,
    pub(crate) turn: Option<String>,
}

impl TurnIds {
    /// Takes the response to one of our requests.
    pub(crate) fn take_response(&mut self, id: &RequestId, result: &Value) {
        let id_of = |of: &str| result.get(of)?.get("id")?.as_str().map(str::to_owned);
        match id {
            RequestId::Number(THREAD) => self.thread = id_of("thread"),
            RequestId::Number(TURN) => self.turn = id_of("turn"),
            _ => {}
        }
    }

    /// Whether a notification is about our thread, or about none.
    pub(crate) fn is_ours(&self, params: &Value) -> bool {
        let thread = params.get("threadId").and_then(Value::as_str);
        thread.is_none() || thread == self.thread.as_deref()
    }
}

/// The token counts of this turn.
#[derive(Default, Clone)]
pub(crate) struct Counts {
    total: Option<Usage>,
    pub(crate) turn: Usage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenUsage {
    total: Tokens,
    pub(crate) last: Tokens,
    #[serde(default, deserialize_with = "default_on_error")]
    pub(crate) model_context_window: Option<u64>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are those of the protocol")]
pub(crate) struct Tokens {
    pub(crate) total_tokens: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        Self {
            input_tokens: Some(tokens.input_tokens),
            output_tokens: Some(tokens.output_tokens),
            cached_tokens: Some(tokens.cached_input_tokens),
            cost_usd: None,
        }
    }
}

impl Counts {
    /// Takes a `thread/tokenUsage/updated`. Returns it if it belongs to this turn.
    pub(crate) fn update(&mut self, ids: &TurnIds, params: &Value) -> Option<TokenUsage> {
        let tokens: TokenUsage = serde_json::from_value(params.get("tokenUsage")?.clone()).ok()?;
        let total = Usage::from(tokens.total);
        let earlier = self.total.replace(total);
        if ids.turn.is_none() || params.get("turnId").and_then(Value::as_str) != ids.turn.as_deref() {
            return None;
        }
        let more = earlier.map_or_else(|| tokens.last.into(), |earlier| total.since(earlier));
        self.turn = self.turn.plus(more);
        Some(tokens)
    }
}
