//! The output of opencode, as seen with 1.18.33: `opencode run --format json --thinking`.
//!
//! What is not obvious:
//! - There is no event for the end of a turn. A step that finishes for another reason than `tool-calls` is the last
//!   one, until another begins; the end of the process makes it so.
//! - Nothing comes in pieces: a text is one line when it is complete, a tool's call one line when it is over.
//! - A server's error (5xx) and a broken stream are tried again without end and without a word.
//! - Its own session is on every line, and an interrupted turn can be gone on with.
//! - `cost` is 0 where opencode has no price for the model.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::observe::{keep_stderr, lenient, limited, push_text};
use super::super::{Observer, Translator, Update, cause};
use super::{Format, tool};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static OPENCODE_JSON: Format = Format {
    name: "opencode-json",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Reader::default())),
};

#[derive(Default, Clone)]
struct Reader {
    seen: Observation,
    /// What the model said since its last call of a tool.
    answer: String,
    /// The sum over all steps.
    usage: Usage,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "sessionID", borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient")]
    part: Option<Part>,
    #[serde(default, deserialize_with = "lenient")]
    error: Failure,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Part {
    text: String,
    tool: String,
    #[serde(rename = "callID")]
    call_id: String,
    state: State,
    reason: String,
    tokens: Tokens,
    cost: f64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State {
    status: String,
    input: Value,
    output: String,
    error: String,
}

/// `input` leaves out what came from the cache, `output` what the model thought.
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
    data: FailureData,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FailureData {
    message: String,
    #[serde(rename = "statusCode")]
    status_code: Option<u16>,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        if let Some(id) = event.session_id {
            self.seen.agent_session_id = Some(id.into_owned());
        }
        let part = event.part.unwrap_or_default();
        match &*event.kind {
            "step_start" => {
                self.seen.final_event = None;
                self.seen.failure = None;
            }
            "text" => push_text(&mut self.answer, &part.text),
            "tool_use" => self.answer.clear(),
            "step_finish" => self.step_finished(&part),
            "error" => self.failed(&event.error),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn count(&mut self, part: &Part) {
        let tokens = &part.tokens;
        let input = tokens
            .input
            .saturating_add(tokens.cache.read)
            .saturating_add(tokens.cache.write);
        self.usage = self.usage.plus(Usage {
            input_tokens: Some(input),
            output_tokens: Some(tokens.output.saturating_add(tokens.reasoning)),
            cached_tokens: Some(tokens.cache.read),
            cost_usd: Some(part.cost).filter(|cost| *cost > 0.0),
        });
    }

    fn step_finished(&mut self, part: &Part) {
        self.count(part);
        if part.reason == "tool-calls" {
            return;
        }
        let stop_reason = match part.reason.as_str() {
            "length" => StopReason::MaxTokens,
            "content-filter" => StopReason::Refusal,
            _ => StopReason::EndTurn,
        };
        self.seen.final_event = Some(FinalEvent {
            outcome: Ok(()),
            stop_reason: Some(stop_reason),
            result: Some(self.answer.clone()).filter(|answer| !answer.is_empty()),
            error: None,
            usage: self.usage,
        });
    }

    fn failed(&mut self, error: &Failure) {
        let message = if error.data.message.is_empty() {
            &error.name
        } else {
            &error.data.message
        };
        self.seen.final_event = Some(FinalEvent {
            outcome: Err(match error.name.as_str() {
                // The provider has no key, or its login is over.
                "ProviderAuthError" => Cause::Auth,
                _ => cause::tell(error.data.status_code, message),
            }),
            stop_reason: None,
            result: None,
            error: Some(limited(message)),
            usage: self.usage,
        });
    }
}

impl Translator for Reader {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        let part = event.part?;
        let update = match &*event.kind {
            "text" => Update::message(part.text),
            "reasoning" => Update::thought(part.text),
            "tool_use" => {
                let succeeded = part.state.status == "completed";
                let output = if succeeded { part.state.output } else { part.state.error };
                tool::whole(&part.call_id, &part.tool, part.state.input, succeeded, &output)
            }
            "step_finish" => {
                self.count(&part);
                Update::usage(&self.usage, 0)
            }
            _ => return None,
        };
        Some(vec![update])
    }
}

#[cfg(test)]
#[path = "opencode_json_tests.rs"]
pub(super) mod tests;
