//! The output of pi, as seen with 1.6.0, and with 0.73.1 under its former name: `pi -p --mode json`.
//!
//! What is not obvious:
//! - `agent_end` ends a turn, and the last answer's `stopReason` decides: the exit code is 0 after an error, too. If pi
//!   retries, `auto_retry_start` and another `agent_end` follow. `agent_settled` is the last line since 1.0.
//! - Up to 0.73.1, each chunk of an answer repeats the message so far, and may already contain text of later chunks. Only
//!   `delta` counts. So 100 KB in chunks of 100 bytes took 100 MB. With 1.6.0 they take 0.8 MB.
//! - The system prompt is a message, too, and is in `agent_end`.
//! - `usage` of an answer is that answer's own, and counts cached input separately. `cost` is 0 if pi has no price.
//! - The first line names the session, but it can be resumed only after the model's first answer.

use std::borrow::Cow;

use agent_client_protocol_schema::v1::CompactionStatus;
use serde::Deserialize;
use serde_json::Value;

use super::format::Format;
use crate::output::cause;
use crate::output::chunks::complete;
use crate::output::lines::lenient::{default_on_error, null_is_default};
use crate::output::observer::{Observer, failure, limited, parse_event, success};
use crate::output::session::{self, Retry};
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::tool;
use crate::output::update::{Translator, Update, numbered};
use crate::output::usage::{Context, UsageReport, total};
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
    /// Its chunks.
    text: String,
    thoughts: String,
    /// How many answers began.
    answers: u64,
    /// The last answer failed, and had text.
    failed: bool,
    calls: Calls,
    /// How many compactions began.
    compactions: u64,
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
    /// Of `session`.
    #[serde(default, borrow, deserialize_with = "null_is_default")]
    cwd: Cow<'a, str>,
    /// Of `session_info_changed`.
    #[serde(default, borrow, deserialize_with = "null_is_default")]
    name: Cow<'a, str>,
    /// Of `auto_retry_start`.
    attempt: Option<u64>,
    #[serde(rename = "maxAttempts")]
    max_attempts: Option<u64>,
    #[serde(rename = "delayMs")]
    delay: Option<u64>,
    #[serde(rename = "errorMessage", borrow)]
    error_message: Option<Cow<'a, str>>,
    /// Of `compaction_end`.
    #[serde(default, deserialize_with = "null_is_default")]
    aborted: bool,
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
            "session" => {
                self.calls.set_cwd(&event.cwd);
                return None;
            }
            "message_update" => return self.translate_chunk(line),
            "message_end" => return self.translate_message(line),
            "message_start" => {
                self.start_message(line);
                return Some(Vec::new());
            }
            // `message_end` has the same content.
            "turn_end" | "agent_end" | "agent_settled" => return Some(Vec::new()),
            "tool_execution_start" => {
                let started = self.calls.start(&event.call_id, &event.tool_name?, event.args);
                return Some(started.into_iter().collect());
            }
            "tool_execution_update" => {
                Calls::progress(&event.call_id, tool::output_content(output(&event.partial_result)))
            }
            "tool_execution_end" => {
                let end = End::with_output(!event.is_error, output(&event.result));
                self.calls.finish(&event.call_id, end)
            }
            "auto_retry_start" => return Some(self.retry(&event)),
            "compaction_start" => {
                self.compactions = self.compactions.saturating_add(1);
                self.compaction(CompactionStatus::InProgress, "")
            }
            "compaction_end" => {
                let ended = match (event.aborted, event.error_message.as_deref().unwrap_or_default()) {
                    (true, _) => self.compaction(CompactionStatus::Cancelled, ""),
                    (false, "") => self.compaction(CompactionStatus::Completed, ""),
                    (false, error) => self.compaction(CompactionStatus::Failed, error),
                };
                return Some(vec![ended, Update::raw(line)]);
            }
            "session_info_changed" => session::title(&event.name)?,
            _ => return None,
        };
        Some(vec![update])
    }
}

fn output(result: &Value) -> &Value {
    result.get("content").unwrap_or(result)
}

impl PiTranslator {
    fn start_message(&mut self, line: &[u8]) {
        if Answer::of(line).is_some() {
            self.answers = self.answers.saturating_add(1);
            self.in_chunks = false;
            self.text.clear();
            self.thoughts.clear();
        }
    }

    /// The id of the answer's text, and of its thoughts.
    fn ids(&self) -> [String; 2] {
        let id = numbered(self.answers);
        [id.clone(), format!("{id}/thought")]
    }

    /// Pi asks the model again. What the failed answer said is void.
    fn retry(&mut self, event: &Event<'_>) -> Vec<Update> {
        let is_void = std::mem::take(&mut self.failed);
        let void = self.ids().into_iter().filter(|_| is_void);
        let mut updates: Vec<Update> = void.map(|message_id| Update::Superseded { message_id }).collect();
        let retry = Retry {
            attempt: event.attempt,
            max_attempts: event.max_attempts,
            delay: event.delay,
            error: event.error_message.as_deref().unwrap_or_default(),
            ..Retry::default()
        };
        updates.push(retry.update());
        updates
    }

    fn compaction(&self, status: CompactionStatus, error: &str) -> Update {
        session::compaction(&numbered(self.compactions), status, error)
    }

    fn translate_chunk(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let Delta { kind, delta } = serde_json::from_slice::<Chunk<'_>>(line).ok()?.event;
        let [message, thought] = self.ids();
        let update = match &*kind {
            "text_delta" => {
                self.text.push_str(&delta);
                Update::message(delta).in_message(message)
            }
            "thinking_delta" => {
                self.thoughts.push_str(&delta);
                Update::thought(delta).in_message(thought)
            }
            // Begin and end of chunks. A tool call has lines of its own.
            "text_start" | "text_end" | "thinking_start" | "thinking_end" | "toolcall_start" | "toolcall_delta"
            | "toolcall_end" => return Some(Vec::new()),
            _ => return None,
        };
        self.in_chunks = true;
        Some(vec![update])
    }

    /// What the chunks of a complete answer did not have.
    fn missing(&mut self, blocks: &[Block]) -> Vec<Update> {
        let [message, thought] = self.ids();
        let thoughts: String = blocks.iter().map(|block| block.thinking.as_str()).collect();
        let text: String = blocks.iter().map(|block| block.text.as_str()).collect();
        let mut updates = Vec::new();
        if !thoughts.is_empty() {
            updates = complete(&mut self.thoughts, &thoughts, &thought, |text| Update::thought(text));
        }
        if !text.is_empty() {
            updates.extend(complete(&mut self.text, &text, &message, |text| Update::message(text)));
        }
        updates
    }

    /// A complete message: the caller's, a tool's, or the model's with its usage.
    fn translate_message(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let answer = serde_json::from_slice::<MessageEvent>(line).ok()?.message;
        let came_whole = !std::mem::take(&mut self.in_chunks);
        match answer.role.as_str() {
            "assistant" if answer.error_message.is_some() => {
                self.failed = !came_whole;
                None
            }
            "assistant" => {
                let request = answer.usage();
                self.usage = self.usage.plus(request);
                let [message, thought] = self.ids();
                let mut updates = Vec::new();
                if !came_whole {
                    updates = self.missing(answer.content.as_deref().unwrap_or_default());
                }
                let mut all_known = answer.content.is_some() && answer.usage.is_some();
                for block in answer.content.into_iter().flatten() {
                    match block.kind.as_str() {
                        "text" if came_whole => updates.push(Update::message(block.text).in_message(&*message)),
                        "thinking" if came_whole => updates.push(Update::thought(block.thinking).in_message(&*thought)),
                        // A tool call has lines of its own.
                        "text" | "thinking" | "toolCall" => {}
                        _ => all_known = false,
                    }
                }
                let context = Context::Tokens(total(&request));
                updates.push(Update::Usage(UsageReport::new(self.usage, context, 0)));
                if !all_known {
                    updates.push(Update::raw(line));
                }
                Some(updates)
            }
            "system" | "user" | "toolResult" => Some(Vec::new()),
            _ => None,
        }
    }
}
