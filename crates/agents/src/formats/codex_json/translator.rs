//! Turns the stream into ACP updates.

use agent_client_protocol_schema::v1::ToolCallContent;
use serde_json::{Value, json};

use super::wire::{TokenCounts, retry};
use crate::output::plan;
use crate::output::session;
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::tool::{self, checked_str_at, str_at};
use crate::output::update::{Translator, Update, numbered};
use crate::output::usage::{Context, UsageReport};
use promptd_model::Usage;

/// One attempt up to the line that was read last.
#[derive(Default, Clone)]
pub(crate) struct CodexTranslator {
    calls: Calls,
    /// How many messages and thoughts there were.
    messages: u64,
    /// The turn has called a tool, so it makes more than one request.
    called: bool,
}

/// An item that is a tool call.
struct Call {
    name: String,
    input: Value,
    output: Vec<ToolCallContent>,
    /// The result as data.
    data: Option<Value>,
}

impl Translator for CodexTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        match str_at(&event, "type") {
            "item.started" | "item.updated" => self.translate_item(event.get("item")?, false),
            "item.completed" => self.translate_item(event.get("item")?, true),
            "turn.completed" => {
                let counts: TokenCounts = serde_json::from_value(event.get("usage")?.clone()).ok()?;
                // Codex reports sums over all requests of the thread only.
                let context = if self.called {
                    Context::Unknown
                } else {
                    Context::OneRequest
                };
                Some(vec![Update::Usage(UsageReport::cumulative(
                    Usage::from(counts),
                    context,
                ))])
            }
            "error" => Some(vec![retry(str_at(&event, "message"))?]),
            _ => None,
        }
    }
}

impl CodexTranslator {
    fn translate_item(&mut self, item: &Value, completed: bool) -> Option<Vec<Update>> {
        match str_at(item, "type") {
            "agent_message" => self.translate_text(item, completed, |text| Update::message(text)),
            "reasoning" => self.translate_text(item, completed, |text| Update::thought(text)),
            "todo_list" => Some(vec![todo_list(item)?]),
            // A warning. The end of a failed turn is an event of its own.
            "error" if completed => Some(vec![session::warning(checked_str_at(item, "message")?)?]),
            "error" => Some(Vec::new()),
            _ => Some(self.translate_call(
                checked_str_at(item, "id")?,
                call(item)?,
                checked_str_at(item, "status")?,
                completed,
            )),
        }
    }

    /// Before its end, an item has a part of its text.
    fn translate_text(&mut self, item: &Value, completed: bool, update: fn(&str) -> Update) -> Option<Vec<Update>> {
        let text = checked_str_at(item, "text")?;
        if !completed || text.is_empty() {
            return Some(Vec::new());
        }
        // Codex numbers the items of each turn anew.
        self.messages = self.messages.saturating_add(1);
        Some(vec![update(text).in_message(numbered(self.messages))])
    }

    fn translate_call(&mut self, id: &str, call: Call, status: &str, completed: bool) -> Vec<Update> {
        self.called = true;
        let is_new = !self.calls.is_open(id);
        let mut updates: Vec<Update> = self.calls.start(id, &call.name, call.input).into_iter().collect();
        if completed {
            let end = End {
                succeeded: !matches!(status, "failed" | "declined"),
                content: call.output,
                data: call.data,
                ..End::default()
            };
            updates.push(self.calls.finish(id, end));
        } else if !is_new {
            updates.push(Calls::progress(id, call.output));
        }
        updates
    }
}

fn call(item: &Value) -> Option<Call> {
    let value = |key: &str| item.get(key).cloned().unwrap_or_default();
    let call = match str_at(item, "type") {
        "command_execution" => Call {
            name: "exec_command".to_owned(),
            input: json!({ "command": value("command") }),
            output: tool::text_content(checked_str_at(item, "aggregated_output")?),
            data: Some(json!({ "exit_code": value("exit_code") })),
        },
        "file_change" => Call {
            name: "apply_patch".to_owned(),
            input: json!({ "changes": value("changes") }),
            output: Vec::new(),
            data: None,
        },
        "mcp_tool_call" => {
            let (result, error) = (value("result"), value("error"));
            let output = if error.is_null() {
                tool::output_content(result.get("content").unwrap_or(&Value::Null))
            } else {
                tool::text_content(str_at(&error, "message"))
            };
            Call {
                name: format!(
                    "mcp__{}__{}",
                    checked_str_at(item, "server")?,
                    checked_str_at(item, "tool")?
                ),
                input: value("arguments"),
                output,
                data: [result, error].into_iter().find(|value| !value.is_null()),
            }
        }
        "web_search" => Call {
            name: "web_search".to_owned(),
            input: json!({ "query": value("query"), "action": value("action") }),
            output: Vec::new(),
            data: None,
        },
        // Codex's own subagents.
        "collab_tool_call" => Call {
            name: checked_str_at(item, "tool")?.to_owned(),
            input: json!({ "prompt": value("prompt"), "receiver_thread_ids": value("receiver_thread_ids") }),
            output: Vec::new(),
            data: item.get("agents_states").cloned(),
        },
        _ => return None,
    };
    Some(call)
}

/// Codex reports only whether a step is done.
fn todo_list(item: &Value) -> Option<Update> {
    let entries = item.get("items")?.as_array()?.iter().map(|step| {
        let completed = step.get("completed").and_then(Value::as_bool) == Some(true);
        let text = checked_str_at(step, "text")?;
        Some(plan::entry(text, if completed { "completed" } else { "pending" }))
    });
    Some(plan::update(entries.collect::<Option<_>>()?))
}
