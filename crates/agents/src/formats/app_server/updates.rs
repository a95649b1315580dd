//! The stream in ACP's words.

use std::collections::{HashMap, HashSet};

use agent_client_protocol_schema::v1::{
    RequestId, SessionUpdate, ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields, UsageUpdate,
};
use serde_json::{Value, json};

use super::super::super::json_rpc::{self, Message};
use super::super::super::{Translator, Update};
use super::super::plan;
use super::super::tool::{self, string, text_at};
use super::{Counts, INITIALIZE, INTERRUPT, Place, THREAD, TURN};

/// One attempt, as far as it was read.
#[derive(Default, Clone)]
pub(super) struct Updates {
    place: Place,
    counts: Counts,
    /// Messages and thoughts that were told in pieces.
    in_pieces: HashSet<String>,
    /// Calls that were told, and have not ended, with the input that was told.
    calls: HashMap<String, Value>,
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
                self.calls.contains_key(string(&params, "itemId")).then(Vec::new)
            }
            Message::Error { .. } => None,
        }
    }
}

impl Updates {
    fn notified(&mut self, method: &str, params: &Value) -> Option<Vec<Update>> {
        let (id, delta) = (text_at(params, "itemId")?, text_at(params, "delta")?);
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
                    Some(plan::entry(text_at(step, "step")?, status))
                });
                Some(vec![plan::update(steps.collect::<Option<_>>()?)])
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
        let id = text_at(item, "id")?;
        let said = |text: String, update: fn(String) -> Update, in_pieces: bool| {
            let told = completed && !in_pieces && !text.is_empty();
            Some(told.then(|| update(text)).into_iter().collect())
        };
        let mut was_in_pieces = || completed && self.in_pieces.remove(id);
        match string(item, "type") {
            // The prompt stands in the journal already.
            "userMessage" => Some(Vec::new()),
            "agentMessage" => said(text_at(item, "text")?.to_owned(), Update::message, was_in_pieces()),
            "reasoning" => {
                let summary = item.get("summary").and_then(Value::as_array);
                let parts = summary.into_iter().flatten().map(Value::as_str);
                let text = parts.collect::<Option<Vec<_>>>()?.join("\n\n");
                said(text, Update::thought, was_in_pieces())
            }
            _ => {
                let (name, input) = call(string(item, "type"), item)?;
                let mut updates = Vec::new();
                match self.calls.insert(id.to_owned(), input.clone()) {
                    None => updates.push(tool::started(id, &name, input)),
                    Some(told) if told != input => updates.push(tool::corrected(id, &name, input)),
                    Some(_) => {}
                }
                if completed {
                    self.calls.remove(id);
                    let succeeded = !matches!(text_at(item, "status")?, "failed" | "declined");
                    updates.push(tool::ended_with(id, succeeded, &output(item), data(item)));
                }
                Some(updates)
            }
        }
    }
}

/// The tool and its input, where an item of this kind is a call of one.
pub(crate) fn call(kind: &str, item: &Value) -> Option<(String, Value)> {
    let value = |key: &str| item.get(key).cloned().unwrap_or_default();
    Some(match kind {
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
            let name = format!("mcp__{}__{}", text_at(item, "server")?, text_at(item, "tool")?);
            (name, value("arguments"))
        }
        "dynamicToolCall" => (text_at(item, "tool")?.to_owned(), value("arguments")),
        "webSearch" => (
            "web_search".to_owned(),
            json!({ "query": value("query"), "action": value("action") }),
        ),
        "collabAgentToolCall" => (
            text_at(item, "tool")?.to_owned(),
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
