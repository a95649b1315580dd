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
use serde_json::{Value, json};

use super::format::Format;
use crate::output::cause;
use crate::output::lines::lenient::{default_on_error, null_is_default};
use crate::output::observer::{Observer, failure, limited, parse_event, push_text, success};
use crate::output::plan::Plans;
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::tool::{self, str_at};
use crate::output::update::{Translator, Update};
use crate::output::usage::{Context, UsageReport, total};
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
    /// How much of it was there when the step began that has not finished.
    step: Option<usize>,
    /// The sum over all steps.
    usage: Usage,
}

#[derive(Default, Clone)]
struct OpencodeTranslator {
    /// The sum over all steps.
    usage: Usage,
    calls: Calls,
    plans: Plans,
    /// The texts of the step that has not finished.
    step: Vec<String>,
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
    id: String,
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
    /// Images and files that a tool has read.
    #[serde(deserialize_with = "default_on_error")]
    attachments: Vec<Attachment>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attachment {
    url: String,
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
                // A step that begins again: what it said before is void.
                let begin = self.step.unwrap_or(self.answer.len()).min(self.answer.len());
                self.answer.truncate(begin);
                self.step = Some(begin);
            }
            "text" => push_text(&mut self.answer, &part.text),
            "tool_use" => {
                self.answer.clear();
                self.step = self.step.map(|_| 0);
            }
            "step_finish" => {
                self.step = None;
                self.finish_step(&part);
            }
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
            "step_start" => {
                // A step that begins again: opencode asks the model once more.
                let void = std::mem::take(&mut self.step);
                return Some(
                    void.into_iter()
                        .map(|message_id| Update::Superseded { message_id })
                        .collect(),
                );
            }
            "text" | "reasoning" => {
                self.step.push(part.id.clone());
                let update = if event.kind == "text" {
                    Update::message
                } else {
                    Update::thought
                };
                update(part.text).in_message(part.id)
            }
            "tool_use" => {
                let (id, state) = (part.call_id, part.state);
                let succeeded = state.status == "completed";
                let output = if succeeded { state.output } else { state.error };
                let mut end = End::with_text(succeeded, &output);
                let images = state
                    .attachments
                    .into_iter()
                    .map(|file| json!({ "image_url": file.url }));
                end.content.extend(
                    images
                        .filter(|image| str_at(image, "image_url").starts_with("data:image/"))
                        .flat_map(|image| tool::output_content(&json!([image]))),
                );
                self.plans.start_call(&id, &part.tool, &state.input);
                let mut updates = self.calls.complete(&id, &part.tool, state.input, end);
                updates.extend(self.plans.finish_call(&id, succeeded, &Value::Null));
                return Some(updates);
            }
            "step_finish" => {
                self.step.clear();
                let request = part.usage();
                self.usage = self.usage.plus(request);
                Update::Usage(UsageReport::new(self.usage, Context::Tokens(total(&request)), 0))
            }
            _ => return None,
        };
        Some(vec![update])
    }
}
