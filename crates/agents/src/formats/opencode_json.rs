//! The output of opencode, as seen with 1.18.33: `opencode run --format json --thinking`.
//!
//! What is not obvious:
//! - No event ends a turn. A step that finishes for another reason than `tool-calls` is the last one, unless another
//!   step begins before the process ends.
//! - Nothing comes in chunks: a text is one line when it is complete, a tool call one line when it has finished.
//! - A server error (5xx) and a broken stream are retried without end and without a line.
//! - Every line names opencode's session, and the session of an interrupted turn can be resumed.
//! - `cost` is 0 if opencode has no price for the model.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::format::Format;
use crate::output::cause;
use crate::output::lenient::{default_on_error, null_is_default};
use crate::output::observer::{Observer, failure, limited, parse_event, push_text, success};
use crate::output::tool;
use crate::output::update::{Translator, Update};
use promptd_model::{Cause, Observation, StopReason, Stream, Usage};

pub(crate) static OPENCODE_JSON: Format = Format::stream(
    "opencode-json",
    || Box::new(OpencodeObserver::default()),
    || Box::new(OpencodeTranslator::default()),
);

#[derive(Default)]
struct OpencodeObserver {
    seen: Observation,
    /// The text since the last tool call.
    answer: String,
    /// The sum over all steps.
    usage: Usage,
}

#[derive(Default, Clone)]
struct OpencodeTranslator {
    /// The sum over all steps.
    usage: Usage,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "sessionID", borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
    part: Option<Part>,
    #[serde(default, deserialize_with = "default_on_error")]
    error: Failure,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Part {
    text: String,
    tool: String,
    #[serde(rename = "callID")]
    call_id: String,
    #[serde(deserialize_with = "null_is_default")]
    state: State,
    reason: String,
    #[serde(deserialize_with = "default_on_error")]
    tokens: Tokens,
    cost: f64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State {
    status: String,
    input: Value,
    #[serde(deserialize_with = "null_is_default")]
    output: String,
    #[serde(deserialize_with = "null_is_default")]
    error: String,
}

/// `input` excludes cached tokens, `output` excludes the tokens of thoughts.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Tokens {
    input: u64,
    output: u64,
    reasoning: u64,
    cache: Cache,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cache {
    read: u64,
    write: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    name: String,
    #[serde(deserialize_with = "default_on_error")]
    data: FailureData,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FailureData {
    message: String,
    #[serde(rename = "statusCode", deserialize_with = "default_on_error")]
    status_code: Option<u16>,
}

impl Part {
    fn usage(&self) -> Usage {
        let tokens = &self.tokens;
        let cached = tokens.cache.read.saturating_add(tokens.cache.write);
        Usage {
            input_tokens: Some(tokens.input.saturating_add(cached)),
            output_tokens: Some(tokens.output.saturating_add(tokens.reasoning)),
            cached_tokens: Some(tokens.cache.read),
            cost_usd: Some(self.cost).filter(|cost| *cost > 0.0),
        }
    }
}

impl Observer for OpencodeObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let Some(event) = parse_event::<Event<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        if let Some(id) = event.session_id {
            self.seen.agent_session_id = Some(id.into_owned());
        }
        let part = event.part.unwrap_or_default();
        match &*event.kind {
            "step_start" => {
                self.seen.final_event = None;
                self.seen.clear_failure();
            }
            "text" => push_text(&mut self.answer, &part.text),
            "tool_use" => self.answer.clear(),
            "step_finish" => self.finish_step(&part),
            "error" => self.fail(&event.error),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl OpencodeObserver {
    fn finish_step(&mut self, part: &Part) {
        self.usage = self.usage.plus(part.usage());
        if part.reason == "tool-calls" {
            return;
        }
        let stop_reason = match part.reason.as_str() {
            "length" => StopReason::MaxTokens,
            "content-filter" => StopReason::Refusal,
            _ => StopReason::EndTurn,
        };
        let answer = Some(self.answer.clone()).filter(|answer| !answer.is_empty());
        self.seen.final_event = Some(success(stop_reason, answer, self.usage));
    }

    fn fail(&mut self, error: &Failure) {
        let message = if error.data.message.is_empty() {
            &error.name
        } else {
            &error.data.message
        };
        let cause = match error.name.as_str() {
            // The provider has no key, or its login has expired.
            "ProviderAuthError" => Cause::Auth,
            _ => cause::classify(error.data.status_code, message),
        };
        self.seen.final_event = Some(failure(cause, limited(message), self.usage));
    }
}

impl Translator for OpencodeTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        let part = event.part?;
        let update = match &*event.kind {
            "text" => Update::message(part.text),
            "reasoning" => Update::thought(part.text),
            "tool_use" => {
                let succeeded = part.state.status == "completed";
                let output = if succeeded { part.state.output } else { part.state.error };
                tool::complete(&part.call_id, &part.tool, part.state.input, succeeded, &output)
            }
            "step_finish" => {
                self.usage = self.usage.plus(part.usage());
                Update::usage(&self.usage, 0)
            }
            _ => return None,
        };
        Some(vec![update])
    }
}
