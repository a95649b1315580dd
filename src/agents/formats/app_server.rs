//! The output of `codex app-server`, as seen with 0.169.0; `codex app-server generate-json-schema` tells the rest.
//!
//! JSON-RPC without `jsonrpc`. The ids of our own requests are fixed ([`INITIALIZE`] and so on), so that the agent's
//! lines alone tell what is answered. What is not obvious:
//! - `error` is not final; `turn/completed` is, with a `status` of its own.
//! - `thread/tokenUsage/updated` counts over all turns of the thread in `total`, and the model's last answer in `last`.
//!   A thread that is resumed begins with one of a former turn.
//! - Subagents are threads of their own, and tell the same things in between.
//! - The first piece of a quick command's output can be missing; the whole stands in `aggregatedOutput`.

use std::collections::HashSet;

use agent_client_protocol_schema::v1::{
    RequestId, SessionUpdate, ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields, UsageUpdate,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::json_rpc::{self, Failure, Message};
use super::super::observe::{lenient, limited};
use super::super::{Observer, Translator, Update, cause};
use super::tool::{self, string};
use super::{Format, plan};
use crate::model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(in crate::agents) static APP_SERVER: Format = Format {
    name: "codex-app-server",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Updates::default())),
};

/// The id of our `initialize`.
pub(in crate::agents) const INITIALIZE: i64 = 1;
/// The id of our `thread/start` or `thread/resume`.
pub(in crate::agents) const THREAD: i64 = 2;
/// The id of our `turn/start`.
pub(in crate::agents) const TURN: i64 = 3;
/// The id of our `turn/interrupt`.
pub(in crate::agents) const INTERRUPT: i64 = 4;

/// Reads the agent's lines for the turn's end.
#[derive(Default)]
pub(in crate::agents) struct Reader {
    seen: Observation,
    /// Whether the thread is an earlier turn's.
    resumes: bool,
    place: Place,
    counts: Counts,
    /// The newest message of the agent; the last one is the answer.
    answer: Option<String>,
}

/// Which thread and turn the lines are of.
#[derive(Clone, Default)]
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
#[derive(Clone, Default)]
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

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return self.seen.stderr(line);
        }
        let message = json_rpc::parse(line);
        self.seen.last_line_known = message.is_some();
        match message {
            Some(Message::Notification { method, params }) => {
                if let Ok(params) = serde_json::from_str(params) {
                    self.notified(&method, &params);
                }
            }
            Some(Message::Result { id, result }) => {
                if let Ok(result) = serde_json::from_str(result) {
                    self.place.result(&id, &result);
                }
                if id == RequestId::Number(TURN) {
                    self.seen.agent_session_id.clone_from(&self.place.thread);
                }
            }
            Some(Message::Error { id, error }) => self.refused(&id, &error),
            Some(Message::Request { .. }) | None => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    /// For a turn that is to go on with the thread of an earlier one.
    pub(in crate::agents) fn resuming() -> Self {
        Self {
            resumes: true,
            ..Self::default()
        }
    }

    /// The thread, once there is one.
    pub(in crate::agents) fn thread(&self) -> Option<&str> {
        self.place.thread.as_deref()
    }

    /// The turn, once there is one.
    pub(in crate::agents) fn turn(&self) -> Option<&str> {
        self.place.turn.as_deref()
    }

    /// The turn has failed in the driver's judgement, and is over.
    pub(in crate::agents) fn fail(&mut self, error: &str) {
        self.end(Err(Cause::AgentError), None, Some(error.to_owned()));
    }

    /// The turn was cancelled before the agent had the prompt, or with its interrupt.
    pub(in crate::agents) fn cancelled(&mut self) {
        let error = "the turn was interrupted".to_owned();
        self.end(Err(Cause::Interrupted), Some(StopReason::Cancelled), Some(error));
    }

    fn notified(&mut self, method: &str, params: &Value) {
        if !self.place.is_ours(params) {
            return;
        }
        match method {
            "thread/tokenUsage/updated" => {
                let _of_this_turn = self.counts.update(&self.place, params);
            }
            "error" => {
                let (cause, message) = told(params.get("error").unwrap_or(&Value::Null));
                self.seen.failure = Some((cause, message));
            }
            "item/completed" => {
                let item = params.get("item").unwrap_or(&Value::Null);
                // It got on, whatever it complained about before.
                self.seen.failure = None;
                if string(item, "type") == "agentMessage" {
                    self.answer = Some(limited(string(item, "text")));
                }
            }
            "turn/completed" => {
                let turn = params.get("turn").unwrap_or(&Value::Null);
                if self.turn().is_some_and(|ours| ours == string(turn, "id")) {
                    self.completed(turn);
                }
            }
            _ => {}
        }
    }

    fn completed(&mut self, turn: &Value) {
        match string(turn, "status") {
            "completed" => self.end(Ok(()), Some(StopReason::EndTurn), None),
            "interrupted" => self.cancelled(),
            _ => {
                let (cause, message) = told(turn.get("error").unwrap_or(&Value::Null));
                self.end(Err(cause), None, Some(message));
            }
        }
    }

    fn refused(&mut self, id: &RequestId, error: &Failure) {
        let what = match id {
            RequestId::Number(THREAD) if self.resumes => "the agent refused to resume its session: ",
            RequestId::Number(THREAD) => "the agent refused to begin a session: ",
            RequestId::Number(INITIALIZE) => "the agent refused to be talked with: ",
            RequestId::Number(TURN) => "the agent refused the prompt: ",
            _ => return,
        };
        self.end(Err(error.cause()), None, Some(format!("{what}{}", error.text())));
    }

    fn end(&mut self, outcome: Result<(), Cause>, stop_reason: Option<StopReason>, error: Option<String>) {
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result: self.answer.take(),
            error,
            usage: self.counts.turn,
        });
    }
}

/// Why a turn failed, by the agent's own classes where they tell (`CodexErrorInfo`).
fn told(error: &Value) -> (Cause, String) {
    let message = limited(string(error, "message"));
    let info = error.get("codexErrorInfo").unwrap_or(&Value::Null);
    let cause = match info.as_str() {
        Some("unauthorized") => Cause::Auth,
        Some("usageLimitExceeded" | "rateLimitExceeded" | "sessionBudgetExceeded") => Cause::Quota,
        Some("serverOverloaded" | "policyCapacityUnavailable" | "flexUnavailable" | "internalServerError") => {
            Cause::Overloaded
        }
        _ => {
            let kinds = info.as_object().into_iter().flat_map(|kinds| kinds.values());
            let status = kinds.into_iter().find_map(|kind| kind.get("httpStatusCode")?.as_u64());
            cause::tell(status.and_then(|status| u16::try_from(status).ok()), &message)
        }
    };
    (cause, message)
}

/// The stream in ACP's words.
#[derive(Clone, Default)]
struct Updates {
    place: Place,
    counts: Counts,
    /// Messages and thoughts that were told in pieces.
    in_pieces: HashSet<String>,
    /// Calls that were told, and have not ended.
    calls: HashSet<String>,
}

impl Translator for Updates {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        match json_rpc::parse(line)? {
            Message::Notification { method, params } => {
                let params: Value = serde_json::from_str(params).ok()?;
                let updates = self.notified(&method, &params)?;
                if self.place.is_ours(&params) {
                    return Some(updates);
                }
                // A subagent's words are not the agent's.
                let thread = params.get("threadId").cloned().unwrap_or_default();
                let mark = |update: Update| update.with_meta("thread_id", thread.clone());
                Some(updates.into_iter().map(mark).collect())
            }
            Message::Result { id, result } => {
                self.place.result(&id, &serde_json::from_str(result).ok()?);
                matches!(id, RequestId::Number(INITIALIZE | THREAD | TURN | INTERRUPT)).then(Vec::new)
            }
            // The call was told before, the question is a record of its own.
            Message::Request { params, .. } => {
                let params: Value = serde_json::from_str(params).ok()?;
                self.calls.contains(string(&params, "itemId")).then(Vec::new)
            }
            Message::Error { .. } => None,
        }
    }
}

impl Updates {
    fn notified(&mut self, method: &str, params: &Value) -> Option<Vec<Update>> {
        let (id, delta) = (string(params, "itemId"), string(params, "delta"));
        match method {
            "item/agentMessage/delta" => {
                self.in_pieces.insert(id.to_owned());
                Some(vec![Update::message(delta)])
            }
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => {
                self.in_pieces.insert(id.to_owned());
                Some(vec![Update::thought(delta)])
            }
            "item/commandExecution/outputDelta" => {
                // ACP's `content` is all that there is so far; to repeat it with each piece would cost its square.
                let fields = ToolCallUpdateFields::new().status(ToolCallStatus::InProgress);
                let update = SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields));
                let output = json!({ "terminal_id": id, "data": delta });
                Some(vec![Update::from(update).with_meta("terminal_output", output)])
            }
            "item/started" => self.item(params.get("item")?, false),
            "item/completed" => self.item(params.get("item")?, true),
            "turn/plan/updated" => {
                let steps = params.get("plan")?.as_array()?.iter().map(|step| {
                    let status = string(step, "status");
                    let status = if status == "inProgress" { "in_progress" } else { status };
                    plan::entry(string(step, "step"), status)
                });
                Some(vec![plan::update(steps.collect())])
            }
            "thread/tokenUsage/updated" if self.place.is_ours(params) => Some(self.usage(params)),
            "turn/completed" => {
                let turn = params.get("turn")?;
                matches!(string(turn, "status"), "completed" | "interrupted").then(Vec::new)
            }
            "item/reasoning/summaryPartAdded"
            | "serverRequest/resolved"
            | "thread/started"
            | "thread/status/changed"
            | "turn/started" => Some(Vec::new()),
            _ => None,
        }
    }

    fn usage(&mut self, params: &Value) -> Vec<Update> {
        let Some(tokens) = self.counts.update(&self.place, params) else {
            return Vec::new();
        };
        let window = tokens.model_context_window.unwrap_or(0);
        let update = UsageUpdate::new(tokens.last.total_tokens, window);
        let update = Update::from(SessionUpdate::UsageUpdate(update));
        vec![update.with_meta("usage", json!(self.counts.turn))]
    }

    fn item(&mut self, item: &Value, completed: bool) -> Option<Vec<Update>> {
        let id = string(item, "id");
        let said = |text: String, update: fn(String) -> Update, in_pieces: bool| {
            let told = completed && !in_pieces && !text.is_empty();
            Some(told.then(|| update(text)).into_iter().collect())
        };
        let mut was_in_pieces = || completed && self.in_pieces.remove(id);
        match string(item, "type") {
            // The prompt stands in the journal already.
            "userMessage" => Some(Vec::new()),
            "agentMessage" => said(string(item, "text").to_owned(), Update::message, was_in_pieces()),
            "reasoning" => {
                let summary = item.get("summary").and_then(Value::as_array);
                let parts = summary.into_iter().flatten().filter_map(Value::as_str);
                let text = parts.collect::<Vec<_>>().join("\n\n");
                said(text, Update::thought, was_in_pieces())
            }
            _ => {
                let (name, input) = call(item)?;
                let mut updates = Vec::new();
                if self.calls.insert(id.to_owned()) {
                    updates.push(tool::started(id, &name, input));
                }
                if completed {
                    self.calls.remove(id);
                    let succeeded = !matches!(string(item, "status"), "failed" | "declined");
                    updates.push(tool::ended_with(id, succeeded, &output(item), data(item)));
                }
                Some(updates)
            }
        }
    }
}

/// The tool and its input, where an item is a call of one.
pub(in crate::agents) fn call(item: &Value) -> Option<(String, Value)> {
    let value = |key: &str| item.get(key).cloned().unwrap_or_default();
    Some(match string(item, "type") {
        "commandExecution" => {
            // Without the shell around it, where it is but one command.
            let actions = item.get("commandActions").and_then(Value::as_array);
            let command = match actions.map(Vec::as_slice) {
                Some([action]) => action.get("command").cloned(),
                _ => None,
            };
            let command = command.unwrap_or_else(|| value("command"));
            (
                "exec_command".to_owned(),
                json!({ "command": command, "cwd": value("cwd") }),
            )
        }
        "fileChange" => ("apply_patch".to_owned(), json!({ "changes": value("changes") })),
        "mcpToolCall" => {
            let name = format!("mcp__{}__{}", string(item, "server"), string(item, "tool"));
            (name, value("arguments"))
        }
        "dynamicToolCall" => (string(item, "tool").to_owned(), value("arguments")),
        "webSearch" => (
            "web_search".to_owned(),
            json!({ "query": value("query"), "action": value("action") }),
        ),
        "collabAgentToolCall" => (
            string(item, "tool").to_owned(),
            json!({ "prompt": value("prompt"), "receiverThreadIds": value("receiverThreadIds") }),
        ),
        _ => return None,
    })
}

fn output(item: &Value) -> String {
    let text = |of: Option<&Value>| of.map(tool::text).unwrap_or_default();
    match item.get("error").filter(|error| !error.is_null()) {
        Some(error) => string(error, "message").to_owned(),
        None if string(item, "type") == "commandExecution" => text(item.get("aggregatedOutput")),
        None => text(item.get("result").and_then(|result| result.get("content"))),
    }
}

fn data(item: &Value) -> Option<Value> {
    match string(item, "type") {
        "commandExecution" => Some(json!({ "exit_code": item.get("exitCode") })),
        _ => ["result", "error"]
            .iter()
            .find_map(|key| item.get(key).filter(|value| !value.is_null()).cloned()),
    }
}

#[cfg(test)]
#[path = "app_server_tests.rs"]
mod tests;
