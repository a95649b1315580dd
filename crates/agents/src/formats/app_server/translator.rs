//! Turns the stream into ACP updates.

use std::collections::BTreeMap;

use agent_client_protocol_schema::v1::{
    CompactionStatus, RequestId, SessionUpdate, ToolCallContent, ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields,
};
use serde_json::{Value, json};

use super::session::{self, retry};
use super::wire::{Counts, INITIALIZE, INTERRUPT, THREAD, TURN, TurnIds};
use crate::output::chunks::complete;
use crate::output::lines::json_rpc::{self, Message};
use crate::output::plan;
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::tool::{self, checked_str_at, str_at};
use crate::output::update::{Translator, Update};
use crate::output::usage::{Context, UsageReport};

/// One attempt up to the line that was read last.
#[derive(Default, Clone)]
pub(crate) struct AppServerTranslator {
    ids: TurnIds,
    counts: Counts,
    /// Messages and thoughts that come in chunks and are not complete, by their ids.
    chunked: BTreeMap<String, String>,
    calls: Calls,
    /// The session's model.
    model: String,
}

impl Translator for AppServerTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        match json_rpc::parse(line)? {
            Message::Notification { method, params } => {
                let params: Value = serde_json::from_str(params).ok()?;
                let updates = self.translate_notification(&method, &params)?;
                if self.ids.is_ours(&params) {
                    return Some(updates);
                }
                // It is from a subagent.
                let thread = params.get("threadId").cloned().unwrap_or_default();
                let mark = |update: Update| update.with_meta("thread_id", thread.clone());
                Some(updates.into_iter().map(mark).collect())
            }
            Message::Result { id, result } => {
                let result = serde_json::from_str(result).ok()?;
                self.ids.take_response(&id, &result);
                match id {
                    RequestId::Number(THREAD) => self.begin(&result),
                    RequestId::Number(INITIALIZE | TURN | INTERRUPT) => Some(Vec::new()),
                    _ => None,
                }
            }
            // The call has an update already, and the question is a record of its own.
            Message::Request { params, .. } => {
                let params: Value = serde_json::from_str(params).ok()?;
                self.calls.is_open(str_at(&params, "itemId")).then(Vec::new)
            }
            Message::Error { .. } => None,
        }
    }
}

impl AppServerTranslator {
    fn translate_notification(&mut self, method: &str, params: &Value) -> Option<Vec<Update>> {
        let (id, delta) = (checked_str_at(params, "itemId")?, checked_str_at(params, "delta")?);
        match method {
            "item/agentMessage/delta" => {
                self.chunked.entry(id.to_owned()).or_default().push_str(delta);
                Some(vec![Update::message(delta).in_message(id)])
            }
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => {
                self.chunked.entry(id.to_owned()).or_default().push_str(delta);
                Some(vec![Update::thought(delta).in_message(id)])
            }
            "item/commandExecution/outputDelta" => {
                // ACP's `content` is all output so far. To repeat it with each chunk would take quadratic space.
                let fields = ToolCallUpdateFields::new().status(ToolCallStatus::InProgress);
                let update = SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields));
                let output = json!({ "terminal_id": id, "data": delta });
                Some(vec![Update::from(update).with_meta("terminal_output", output)])
            }
            "item/started" => self.translate_item(params.get("item")?, false),
            "item/completed" => self.translate_item(params.get("item")?, true),
            "turn/plan/updated" => {
                let steps = params.get("plan")?.as_array()?.iter().map(|step| {
                    let status = str_at(step, "status");
                    let status = if status == "inProgress" { "in_progress" } else { status };
                    Some(plan::entry(checked_str_at(step, "step")?, status))
                });
                Some(vec![plan::update(steps.collect::<Option<_>>()?)])
            }
            "thread/tokenUsage/updated" if self.ids.is_ours(params) => Some(self.translate_usage(params)),
            "turn/completed" => {
                let turn = params.get("turn")?;
                matches!(str_at(turn, "status"), "completed" | "interrupted").then(Vec::new)
            }
            "error" if params.get("willRetry").and_then(Value::as_bool) == Some(true) => Some(self.retry(params)),
            "item/reasoning/summaryPartAdded"
            | "serverRequest/resolved"
            | "thread/started"
            | "thread/status/changed"
            | "turn/started" => Some(Vec::new()),
            _ => session::notification(method, params, &mut self.model),
        }
    }

    /// The thread has begun, or is resumed.
    fn begin(&mut self, thread: &Value) -> Option<Vec<Update>> {
        let cwd = [
            str_at(thread, "cwd"),
            thread
                .pointer("/thread/cwd")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        ];
        if let Some(cwd) = cwd.into_iter().find(|cwd| !cwd.is_empty()) {
            self.calls.set_cwd(cwd);
        }
        session::begin(thread, &mut self.model)
    }

    /// Codex asks the model again. What it began to say is void.
    fn retry(&mut self, params: &Value) -> Vec<Update> {
        let void = std::mem::take(&mut self.chunked).into_keys();
        let mut updates: Vec<Update> = void.map(|message_id| Update::Superseded { message_id }).collect();
        updates.push(retry(params.get("error").unwrap_or(&Value::Null)));
        updates
    }

    fn translate_usage(&mut self, params: &Value) -> Vec<Update> {
        let Some(tokens) = self.counts.update(&self.ids, params) else {
            return Vec::new();
        };
        let window = tokens.model_context_window.unwrap_or(0);
        let context = Context::Tokens(tokens.last.total_tokens);
        vec![Update::Usage(UsageReport::new(self.counts.turn, context, window))]
    }

    fn translate_item(&mut self, item: &Value, completed: bool) -> Option<Vec<Update>> {
        let id = checked_str_at(item, "id")?;
        match str_at(item, "type") {
            // The prompt: its own record has it.
            "userMessage" => Some(Vec::new()),
            "contextCompaction" => {
                let status = if completed {
                    CompactionStatus::Completed
                } else {
                    CompactionStatus::InProgress
                };
                Some(vec![crate::output::session::compaction(id, status, "")])
            }
            "agentMessage" | "reasoning" if !completed => Some(Vec::new()),
            "agentMessage" => {
                let text = checked_str_at(item, "text")?;
                let mut chunks = self.chunked.remove(id).unwrap_or_default();
                Some(if text.is_empty() {
                    Vec::new()
                } else {
                    complete(&mut chunks, text, id, |text| Update::message(text))
                })
            }
            // Its parts are joined in another way than its chunks.
            "reasoning" => {
                let summary = item.get("summary").and_then(Value::as_array);
                let parts = summary.into_iter().flatten().map(Value::as_str);
                let text = parts.collect::<Option<Vec<_>>>()?.join("\n\n");
                let is_due = self.chunked.remove(id).is_none() && !text.is_empty();
                Some(
                    is_due
                        .then(|| Update::thought(text).in_message(id))
                        .into_iter()
                        .collect(),
                )
            }
            _ => {
                let (name, input) = tool_call(str_at(item, "type"), item)?;
                let mut updates: Vec<Update> = self.calls.start(id, &name, input).into_iter().collect();
                if completed {
                    let end = End {
                        succeeded: !matches!(checked_str_at(item, "status")?, "failed" | "declined"),
                        content: output(item),
                        data: data(item),
                        ..End::default()
                    };
                    updates.push(self.calls.finish(id, end));
                }
                Some(updates)
            }
        }
    }
}

/// The name and the input of a tool, if an item of this kind is a tool call.
pub(crate) fn tool_call(kind: &str, item: &Value) -> Option<(String, Value)> {
    let value = |key: &str| item.get(key).cloned().unwrap_or_default();
    Some(match kind {
        "commandExecution" => {
            // If it is one command, without the shell around it.
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
            let name = format!(
                "mcp__{}__{}",
                checked_str_at(item, "server")?,
                checked_str_at(item, "tool")?
            );
            (name, value("arguments"))
        }
        "dynamicToolCall" => (checked_str_at(item, "tool")?.to_owned(), value("arguments")),
        "webSearch" => (
            "web_search".to_owned(),
            json!({ "query": value("query"), "action": value("action") }),
        ),
        "collabAgentToolCall" => (
            checked_str_at(item, "tool")?.to_owned(),
            json!({ "prompt": value("prompt"), "receiverThreadIds": value("receiverThreadIds") }),
        ),
        _ => return None,
    })
}

fn output(item: &Value) -> Vec<ToolCallContent> {
    let content = |of: Option<&Value>| of.map(tool::output_content).unwrap_or_default();
    match item.get("error").filter(|error| !error.is_null()) {
        Some(error) => tool::text_content(str_at(error, "message")),
        None if str_at(item, "type") == "commandExecution" => content(item.get("aggregatedOutput")),
        None => content(item.get("contentItems").or_else(|| item.get("result")?.get("content"))),
    }
}

fn data(item: &Value) -> Option<Value> {
    match str_at(item, "type") {
        "commandExecution" => Some(json!({ "exit_code": item.get("exitCode") })),
        _ => ["result", "error"]
            .iter()
            .find_map(|key| item.get(key).filter(|value| !value.is_null()).cloned()),
    }
}
