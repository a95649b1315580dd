//! The output of `codex app-server`, as seen with 0.169.0; `codex app-server generate-json-schema` tells the rest.
//!
//! JSON-RPC without `jsonrpc`. The ids of our own requests are fixed ([`INITIALIZE`] and so on), so that the agent's
//! lines alone tell what is answered. What is not obvious:
//! - `error` is not final; `turn/completed` is, with a `status` of its own.
//! - `thread/tokenUsage/updated` counts over all turns of the thread in `total`, and the model's last answer in `last`.
//!   A thread that is resumed begins with one of a former turn.
//! - Subagents are threads of their own, and tell the same things in between.
//! - The first piece of a quick command's output can be missing; the whole stands in `aggregatedOutput`.

mod observer;
mod updates;

pub(crate) use observer::Reader;
pub(crate) use updates::call;

use agent_client_protocol_schema::v1::RequestId;
use serde::Deserialize;
use serde_json::Value;

use super::super::observe::lenient;
use super::Format;
use promptd_model::Usage;

pub(crate) static APP_SERVER: Format = Format {
    name: "codex-app-server",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(updates::Updates::default())),
};

/// The id of our `initialize`.
pub(crate) const INITIALIZE: i64 = 1;
/// The id of our `thread/start` or `thread/resume`.
pub(crate) const THREAD: i64 = 2;
/// The id of our `turn/start`.
pub(crate) const TURN: i64 = 3;
/// The id of our `turn/interrupt`.
pub(crate) const INTERRUPT: i64 = 4;

/// Which thread and turn the lines are of.
#[derive(Default, Clone)]
struct Place {
    thread: Option<String>,
    turn: Option<String>,
}

impl Place {
    fn result(&mut self, id: &RequestId, result: &Value) {
        let id_of = |of: &str| result.get(of)?.get("id")?.as_str().map(str::to_owned);
        match id {
            RequestId::Number(THREAD) => self.thread = id_of("thread"),
            RequestId::Number(TURN) => self.turn = id_of("turn"),
            _ => {}
        }
    }

    /// Whether this is about our thread, or none.
    fn is_ours(&self, params: &Value) -> bool {
        let thread = params.get("threadId").and_then(Value::as_str);
        thread.is_none() || thread == self.thread.as_deref()
    }
}

/// Tokens of this turn.
#[derive(Default, Clone)]
struct Counts {
    total: Option<Usage>,
    turn: Usage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenUsage {
    total: Tokens,
    last: Tokens,
    #[serde(default, deserialize_with = "lenient")]
    model_context_window: Option<u64>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "they are the wire's")]
struct Tokens {
    total_tokens: u64,
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
    /// Takes what `thread/tokenUsage/updated` says; answers it where it is of this turn.
    fn update(&mut self, place: &Place, params: &Value) -> Option<TokenUsage> {
        let tokens: TokenUsage = serde_json::from_value(params.get("tokenUsage")?.clone()).ok()?;
        let total = Usage::from(tokens.total);
        let earlier = self.total.replace(total);
        if place.turn.is_none() || params.get("turnId").and_then(Value::as_str) != place.turn.as_deref() {
            return None;
        }
        let more = earlier.map_or_else(|| tokens.last.into(), |earlier| total.since(earlier));
        self.turn = self.turn.plus(more);
        Some(tokens)
    }
}
