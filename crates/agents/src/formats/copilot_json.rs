//! The output of GitHub's Copilot CLI, as seen with 1.0.102: `copilot --output-format json`.
//!
//! What is not obvious:
//! - `result` is the last line and its `exitCode` decides, but the code is 0 after SIGTERM, too. `assistant.idle` reports
//!   before it that the turn was aborted. After SIGINT there is no `result`, and the process exits with 0.
//! - Only `result` names the session, so a session whose first turn was interrupted cannot be resumed.
//! - `session.error` has the reason of a failed turn. `model.call_failure` comes before each retry.
//! - A text that came in chunks comes again as a complete message. Of an answer above 1 MB, chunks can be missing. Each chunk of a tool's output has all output so far.
//! - There are no token counts.
//! - Copilot replaces the values of variables that look secret in all of its JSON, even in keys.

use std::borrow::Cow;

use agent_client_protocol_schema::v1::CompactionStatus;
use serde::Deserialize;
use serde_json::Value;

use super::format::Format;
use crate::output::cause;
use crate::output::chunks::complete;
use crate::output::lines::lenient::{default_on_error, null_is_default};
use crate::output::observer::{Observer, failure, limited, parse_event, success};
use crate::output::plan::Plans;
use crate::output::session::{self, Retry};
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::tool;
use crate::output::update::{Translator, Update, numbered};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static COPILOT_JSON: Format = Format {
    chunks: &[&["data", "deltaContent"]],
    ..Format::stream(
        "copilot-json",
        || Box::new(CopilotObserver::default()),
        || Box::new(CopilotTranslator::default()),
    )
};

#[derive(Default)]
struct CopilotObserver {
    seen: Observation,
    answer: Option<String>,
    aborted: bool,
    /// From `session.error`.
    error: Option<(Cause, String)>,
}

#[derive(Default, Clone)]
struct CopilotTranslator {
    /// The last texts that came in chunks.
    message: Chunked,
    thought: Chunked,
    /// The texts of the request to the model that has no complete message.
    request: Vec<String>,
    /// Why the last request failed: its HTTP status, its message, and whether the connection failed.
    failure: (Option<u16>, String, bool),
    calls: Calls,
    plans: Plans,
    /// How many compactions began.
    compactions: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "default_on_error")]
    data: Option<Data>,
    #[serde(rename = "sessionId", borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(rename = "exitCode")]
    exit_code: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Data {
    message_id: String,
    reasoning_id: String,
    delta_content: String,
    content: String,
    tool_call_id: String,
    tool_name: String,
    arguments: Value,
    partial_output: String,
    success: bool,
    #[serde(deserialize_with = "null_is_default")]
    result: ToolResult,
    #[serde(deserialize_with = "null_is_default")]
    error: ToolError,
    message: String,
    error_message: String,
    #[serde(deserialize_with = "default_on_error")]
    status_code: Option<u16>,
    aborted: bool,
    title: String,
    model: String,
    new_model: String,
    reason: String,
    failure_kind: String,
    info_type: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ToolResult {
    content: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ToolError {
    message: String,
}

impl Observer for CopilotObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let Some(event) = parse_event::<Event<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        let data = event.data.unwrap_or_default();
        match &*event.kind {
            "assistant.message" => {
                self.seen.clear_failure();
                if !data.content.is_empty() {
                    self.answer = Some(limited(&data.content));
                }
            }
            "model.call_failure" => {
                let message = limited(&data.error_message);
                self.seen
                    .note_retry(cause::classify(data.status_code, &message), message);
            }
            "assistant.message_delta" | "assistant.reasoning_delta" | "tool.execution_start" => {
                self.seen.clear_failure();
            }
            "session.error" => {
                let message = limited(&data.message);
                self.error = Some((cause::classify(data.status_code, &message), message));
            }
            "assistant.idle" => self.aborted = data.aborted,
            "result" => {
                self.seen.agent_session_id = event.session_id.map(Cow::into_owned);
                self.finish(event.exit_code == Some(0));
            }
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl CopilotObserver {
    fn finish(&mut self, is_success: bool) {
        // There are no token counts.
        let usage = Usage::default();
        let reason = self.error.take().or_else(|| self.seen.failure.clone());
        self.seen.final_event = Some(if self.aborted {
            FinalEvent {
                stop_reason: Some(StopReason::Cancelled),
                ..failure(Cause::AgentError, "the turn was aborted".to_owned(), usage)
            }
        } else if is_success {
            success(StopReason::EndTurn, self.answer.take(), usage)
        } else {
            let (cause, error) = reason.unwrap_or((Cause::AgentError, "copilot gave no reason".to_owned()));
            failure(cause, error, usage)
        });
    }
}

/// A text that comes in chunks, and then as a whole.
#[derive(Default, Clone)]
struct Chunked {
    id: String,
    chunks: String,
    is_complete: bool,
}

impl Chunked {
    fn push(&mut self, id: &str, chunk: &str) {
        if self.id != id || self.is_complete {
            *self = Self {
                id: id.to_owned(),
                ..Self::default()
            };
        }
        self.chunks.push_str(chunk);
    }

    /// What a complete text adds to its chunks; nothing if it comes once more. A text without an id had no chunks.
    fn complete(&mut self, id: &str, text: &str, update: fn(&str) -> Update) -> Vec<Update> {
        if id.is_empty() || self.id != id {
            return vec![update(text).in_message(id)];
        }
        if std::mem::replace(&mut self.is_complete, true) {
            return Vec::new();
        }
        complete(&mut self.chunks, text, id, update)
    }
}

impl Translator for CopilotTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        let data = event.data?;
        let update = match &*event.kind {
            "assistant.message_delta" => {
                self.chunk(&data.message_id);
                self.message.push(&data.message_id, &data.delta_content);
                Update::message(data.delta_content).in_message(data.message_id)
            }
            "assistant.reasoning_delta" => {
                self.chunk(&data.reasoning_id);
                self.thought.push(&data.reasoning_id, &data.delta_content);
                Update::thought(data.delta_content).in_message(data.reasoning_id)
            }
            "assistant.message" => {
                self.request.clear();
                // A message of tool calls only, which have lines of their own.
                if data.content.is_empty() {
                    return Some(Vec::new());
                }
                let (id, text) = (&data.message_id, &data.content);
                return Some(self.message.complete(id, text, |text| Update::message(text)));
            }
            "assistant.reasoning" => {
                let (id, text) = (&data.reasoning_id, &data.content);
                return Some(self.thought.complete(id, text, |text| Update::thought(text)));
            }
            // The prompt: its own record has it.
            "user.message" => return Some(Vec::new()),
            "model.call_failure" => {
                self.failure = (data.status_code, data.error_message, data.failure_kind == "transport");
                return None;
            }
            "assistant.turn_retry" => return Some(self.retry(&data.reason, line)),
            // The retry has a notice already.
            "session.info" if data.info_type == "model_retry" => return Some(Vec::new()),
            "assistant.tool_call_delta" if self.calls.is_open(&data.tool_call_id) => return Some(Vec::new()),
            "assistant.tool_call_delta" => self.calls.announce(&data.tool_call_id, &data.tool_name),
            "tool.execution_start" => {
                self.plans
                    .start_call(&data.tool_call_id, &data.tool_name, &data.arguments);
                return Some(
                    self.calls
                        .start(&data.tool_call_id, &data.tool_name, data.arguments)
                        .into_iter()
                        .collect(),
                );
            }
            "tool.execution_partial_result" => {
                Calls::progress(&data.tool_call_id, tool::text_content(&data.partial_output))
            }
            "tool.execution_complete" => {
                let output = if data.success {
                    data.result.content
                } else {
                    data.error.message
                };
                let ended = self
                    .calls
                    .finish(&data.tool_call_id, End::with_text(data.success, &output));
                let plan = self.plans.finish_call(&data.tool_call_id, data.success, &Value::Null);
                return Some([ended].into_iter().chain(plan).collect());
            }
            "session.title_changed" => session::title(&data.title)?,
            "session.tools_updated" | "session.model_change" => {
                let model = [data.new_model, data.model];
                let model = model.into_iter().find(|model| !model.is_empty())?;
                return Some(vec![session::model(&model)?, Update::raw(line)]);
            }
            "session.warning" => session::warning(&data.message)?,
            "session.compaction_start" => return Some(self.compact(CompactionStatus::InProgress, "", line)),
            "session.compaction_complete" if data.success => {
                return Some(self.compact(CompactionStatus::Completed, "", line));
            }
            "session.compaction_complete" => {
                return Some(self.compact(CompactionStatus::Failed, &data.error.message, line));
            }
            _ => return None,
        };
        Some(vec![update])
    }
}

impl CopilotTranslator {
    fn chunk(&mut self, id: &str) {
        if self.request.last().is_none_or(|last| last != id) {
            self.request.push(id.to_owned());
        }
    }

    /// Copilot asks the model again. What the failed request said is void.
    fn retry(&mut self, reason: &str, line: &[u8]) -> Vec<Update> {
        let void = std::mem::take(&mut self.request).into_iter();
        let mut updates: Vec<Update> = void.map(|message_id| Update::Superseded { message_id }).collect();
        let (status, error, is_network) = std::mem::take(&mut self.failure);
        let retry = Retry {
            status,
            error: if error.is_empty() { reason } else { &error },
            is_network,
            ..Retry::default()
        };
        updates.extend([retry.update(), Update::raw(line)]);
        updates
    }

    fn compact(&mut self, status: CompactionStatus, error: &str, line: &[u8]) -> Vec<Update> {
        if status == CompactionStatus::InProgress {
            self.compactions = self.compactions.saturating_add(1);
        }
        let update = session::compaction(&numbered(self.compactions), status, error);
        vec![update, Update::raw(line)]
    }
}
