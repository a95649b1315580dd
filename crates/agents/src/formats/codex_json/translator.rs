//! Turns the stream into ACP updates.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::wire::TokenCounts;
use crate::output::plan;
use crate::output::tool::{self, checked_str_at, str_at};
use crate::output::update::{Translator, Update};
use promptd_model::Usage;

/// One attempt up to the line that was read last.
#[derive(Default, Clone)]
pub(crate) struct CodexTranslator {
    /// Calls that have an update and have not finished, with the input in that update.
    started: HashMap<String, Value>,
}

/// An item that is a tool call.
struct Call {
    name: String,
    input: Value,
    output: String,
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
                Some(vec![Update::usage(&Usage::from(counts), 0).cumulative()])
            }
            _ => None,
        }
    }
}

impl CodexTranslator {
    fn translate_item(&mut self, item: &Value, completed: bool) -> Option<Vec<Update>> {
        let text_update = |update: fn(&str) -> Update| {
            let text = checked_str_at(item, "text")?;
            // Before its end, an item has a part of its text.
            let is_due = completed && !text.is_empty();
            Some(is_due.then(|| update(text)).into_iter().collect())
        };
        match str_at(item, "type") {
            "agent_message" => text_update(|text| Update::message(text)),
            "reasoning" => text_update(|text| Update::thought(text)),
            "todo_list" => Some(vec![todo_list(item)?]),
            _ => Some(self.translate_call(
                checked_str_at(item, "id")?,
                call(item)?,
                checked_str_at(item, "status")?,
                completed,
            )),
        }
    }

    fn translate_call(&mut self, id: &str, call: Call, status: &str, completed: bool) -> Vec<Update> {
        let mut updates = Vec::new();
        let known_input = self.started.insert(id.to_owned(), call.input.clone());
        let is_new = known_input.is_none();
        match known_input {
            None => updates.push(tool::started(id, &call.name, call.input)),
            Some(input) if input != call.input => updates.push(tool::input_changed(id, &call.name, call.input)),
            Some(_) => {}
        }
        if completed {
            self.started.remove(id);
            let succeeded = !matches!(status, "failed" | "declined");
            updates.push(tool::finished_with(id, succeeded, &call.output, call.data));
        } else if !is_new {
            updates.push(tool::output_so_far(id, &call.output));
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
            output: checked_str_at(item, "aggregated_output")?.to_owned(),
            data: Some(json!({ "exit_code": value("exit_code") })),
        },
        "file_change" => Call {
            name: "apply_patch".to_owned(),
            input: json!({ "changes": value("changes") }),
            output: String::new(),
            data: None,
        },
        "mcp_tool_call" => {
            let (result, error) = (value("result"), value("error"));
            let output = if error.is_null() {
                tool::output_text(result.get("content").unwrap_or(&Value::Null))
            } else {
                str_at(&error, "message").to_owned()
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
            output: String::new(),
            data: None,
        },
        // Codex's own subagents.
        "collab_tool_call" => Call {
            name: checked_str_at(item, "tool")?.to_owned(),
            input: json!({ "prompt": value("prompt"), "receiver_thread_ids": value("receiver_thread_ids") }),
            output: String::new(),
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
