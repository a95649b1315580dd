//! The output of pi, as seen with 0.73.1: `pi -p --mode json`.
//!
//! What is not obvious:
//! - `agent_end` ends a turn, and the last answer's `stopReason` decides: the exit code is 0 after an error, too. If pi
//!   retries, `auto_retry_start` and another `agent_end` follow.
//! - Each chunk of an answer repeats the message so far, and may already contain text of later chunks. Only `delta`
//!   counts.
//! - `usage` of an answer is that answer's own, and counts cached input separately. `cost` is 0 if pi has no price.
//! - The first line names the session, but it can be resumed only after the model's first answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::format::Format;
use crate::output::cause;
use crate::output::lenient::{default_on_error, null_is_default};
use crate::output::observer::{Observer, failure, limited, parse_event, success};
use crate::output::tool;
use crate::output::update::{Translator, Update};
use promptd_model::{FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static PI_JSON: Format = Format {
    chunks: &[&["assistantMessageEvent", "delta"]],
    ..Format::stream(
        "pi-json",
        || Box::new(PiObserver::default()),
        || Box::new(PiTranslator::default()),
    )
};

#[derive(Default)]
struct PiObserver {
    seen: Observation,
    /// The id of the first line, until the session can be resumed.
    session_id: Option<String>,
    /// The sum over all answers.
    usage: Usage,
    last: Answer,
}

#[derive(Default, Clone)]
struct PiTranslator {
    usage: Usage,
    /// The current answer came in chunks.
    in_chunks: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "toolCallId", default, borrow, deserialize_with = "null_is_default")]
    call_id: Cow<'a, str>,
    #[serde(rename = "toolName", borrow)]
    tool_name: Option<Cow<'a, str>>,
    #[serde(default)]
    args: Value,
    #[serde(rename = "partialResult", default)]
    partial_result: Value,
    #[serde(default)]
    result: Value,
    #[serde(rename = "isError", default, deserialize_with = "null_is_default")]
    is_error: bool,
    /// Of `auto_retry_start`.
    #[serde(rename = "errorMessage", borrow)]
    error_message: Option<Cow<'a, str>>,
}

/// `message_update`, without the repeated message.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(rename = "assistantMessageEvent", borrow)]
    event: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "null_is_default")]
    delta: Cow<'a, str>,
}

#[derive(Deserialize)]
struct MessageEvent {
    message: Answer,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    #[serde(deserialize_with = "null_is_default")]
    role: String,
    #[serde(deserialize_with = "default_on_error")]
    content: Option<Vec<Block>>,
    #[serde(deserialize_with = "default_on_error")]
    usage: Option<Counts>,
    #[serde(deserialize_with = "null_is_default")]
    stop_reason: String,
    error_message: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: String,
    thinking: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Counts {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cost: Cost,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cost {
    total: f64,
}

impl From<&Counts> for Usage {
    fn from(counts: &Counts) -> Self {
        let cached = counts.cache_read.saturating_add(counts.cache_write);
        Self {
            input_tokens: Some(counts.input.saturating_add(cached)),
            output_tokens: Some(counts.output),
            cached_tokens: Some(counts.cache_read),
            cost_usd: Some(counts.cost.total).filter(|cost| *cost > 0.0),
        }
    }
}

impl Answer {
    /// The complete answer of the model in this line.
    fn of(line: &[u8]) -> Option<Self> {
        let event = serde_json::from_slice::<MessageEvent>(line).ok()?;
        Some(event.message).filter(|message| message.role == "assistant")
    }

    fn usage(&self) -> Usage {
        self.usage.as_ref().map(Usage::from).unwrap_or_default()
    }

    fn text(&self) -> String {
        let texts = self.content.iter().flatten().filter(|block| block.kind == "text");
        limited(&texts.map(|block| block.text.as_str()).collect::<String>())
    }
}

impl Observer for PiObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let Some(event) = parse_event::<Event<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        match &*event.kind {
            "session" => {
                self.session_id = event.id.map(Cow::into_owned);
                self.seen.announced_session_id.clone_from(&self.session_id);
            }
            "message_end" => {
                if let Some(answer) = Answer::of(line) {
                    if let Some(id) = self.session_id.take() {
                        self.seen.agent_session_id = Some(id);
                    }
                    self.usage = self.usage.plus(answer.usage());
                    self.last = answer;
                }
            }
            "agent_end" => self.finish(),
            "auto_retry_start" => {
                self.seen.final_event = None;
                let error = event.error_message.as_deref().map(limited).unwrap_or_default();
                self.seen.note_retry(cause::classify(None, &error), error);
            }
            "message_update" => self.seen.clear_failure(),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl PiObserver {
    fn finish(&mut self) {
        let error = self.last.error_message.as_deref().map(limited).unwrap_or_default();
        let text = Some(self.last.text()).filter(|text| !text.is_empty());
        self.seen.final_event = Some(match self.last.stop_reason.as_str() {
            "stop" => success(StopReason::EndTurn, text, self.usage),
            "length" => success(StopReason::MaxTokens, text, self.usage),
            // A turn that ends with a tool call or without an answer is no success.
            reason => FinalEvent {
                stop_reason: (reason == "aborted").then_some(StopReason::Cancelled),
                ..failure(cause::classify(None, &error), error, self.usage)
            },
        });
    }
}

impl Translator for PiTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        let update = match &*event.kind {
            "message_update" => return self.translate_chunk(line),
            "message_end" => return self.translate_message(line),
            // `message_end` has the same content.
            "message_start" | "turn_end" | "agent_end" => return Some(Vec::new()),
            "tool_execution_start" => tool::started(&event.call_id, &event.tool_name?, event.args),
            "tool_execution_update" => tool::output_so_far(&event.call_id, &output(&event.partial_result)),
            "tool_execution_end" => tool::finished(&event.call_id, !event.is_error, &output(&event.result)),
            _ => return None,
        };
        Some(vec![update])
    }
}

fn output(result: &Value) -> String {
    tool::output_text(result.get("content").unwrap_or(result))
}

impl PiTranslator {
    fn translate_chunk(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let Delta { kind, delta } = serde_json::from_slice::<Chunk<'_>>(line).ok()?.event;
        let update = match &*kind {
            "text_delta" => Update::message(delta),
            "thinking_delta" => Update::thought(delta),
            // Begin and end of chunks. A tool call has lines of its own.
            "text_start" | "text_end" | "thinking_start" | "thinking_end" | "toolcall_start" | "toolcall_delta"
            | "toolcall_end" => return Some(Vec::new()),
            _ => return None,
        };
        self.in_chunks = true;
        Some(vec![update])
    }

    /// A complete message: the caller's, a tool's, or the model's with its usage.
    fn translate_message(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let answer = serde_json::from_slice::<MessageEvent>(line).ok()?.message;
        let came_whole = !std::mem::take(&mut self.in_chunks);
        match answer.role.as_str() {
            "assistant" if answer.error_message.is_some() => None,
            "assistant" => {
                self.usage = self.usage.plus(answer.usage());
                let mut updates = Vec::new();
                let mut all_known = answer.content.is_some() && answer.usage.is_some();
                for block in answer.content.into_iter().flatten() {
                    match block.kind.as_str() {
                        "text" if came_whole => updates.push(Update::message(block.text)),
                        "thinking" if came_whole => updates.push(Update::thought(block.thinking)),
                        // A tool call has lines of its own.
                        "text" | "thinking" | "toolCall" => {}
                        _ => all_known = false,
                    }
                }
                updates.push(Update::usage(&self.usage, 0));
                if !all_known {
                    updates.push(Update::raw(line));
                }
                Some(updates)
            }
            "user" | "toolResult" => Some(Vec::new()),
            _ => None,
        }
    }
}
