//! The stream in ACP's words.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::super::{Translator, Update};
use super::super::plan;
use super::super::tool::{self, string, text_at};
use super::TokenCounts;
use promptd_model::Usage;

/// One attempt, as far as it was read.
#[derive(Default, Clone)]
pub(super) struct Updates {
    /// Items that were told as calls, and have not ended, with the input that was told.
    started: HashMap<String, Value>,
}

/// An item that is a call of a tool.
struct Call {
    name: String,
    input: Value,
    output: String,
    /// The result as data.
    data: Option<Value>,
}

impl Translator for Updates {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        match string(&event, "type") {
            "item.started" | "item.updated" => self.item(event.get("item")?, false),
            "item.completed" => self.item(event.get("item")?, true),
            "turn.completed" => {
                let counts: TokenCounts = serde_json::from_value(event.get("usage")?.clone()).ok()?;
                Some(vec![Update::usage(&Usage::from(counts), 0).of_all_turns()])
            }
            _ => None,
        }
    }
}

impl Updates {
    fn item(&mut self, item: &Value, completed: bool) -> Option<Vec<Update>> {
        let said = |update: fn(&str) -> Update| {
            let text = text_at(item, "text")?;
            // Before its end, an item's text is a part of what will come.
            let told = completed && !text.is_empty();
            Some(told.then(|| update(text)).into_iter().collect())
        };
        match string(item, "type") {
            "agent_message" => said(|text| Update::message(text)),
            "reasoning" => said(|text| Update::thought(text)),
            "todo_list" => Some(vec![todo_list(item)?]),
            _ => Some(self.call(text_at(item, "id")?, call(item)?, text_at(item, "status")?, completed)),
        }
    }

    fn call(&mut self, id: &str, call: Call, status: &str, completed: bool) -> Vec<Update> {
        let mut updates = Vec::new();
        let told = self.started.insert(id.to_owned(), call.input.clone());
        let new = told.is_none();
        match told {
            None => updates.push(tool::started(id, &call.name, call.input)),
            Some(told) if told != call.input => updates.push(tool::corrected(id, &call.name, call.input)),
            Some(_) => {}
        }
        if completed {
            self.started.remove(id);
            let succeeded = !matches!(status, "failed" | "declined");
            updates.push(tool::ended_with(id, succeeded, &call.output, call.data));
        } else if !new {
            updates.push(tool::output_so_far(id, &call.output));
        }
        updates
    }
}

fn call(item: &Value) -> Option<Call> {
    let value = |key: &str| item.get(key).cloned().unwrap_or_default();
    let call = match string(item, "type") {
        "command_execution" => Call {
            name: "exec_command".to_owned(),
            input: json!({ "command": value("command") }),
            output: text_at(item, "aggregated_output")?.to_owned(),
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
                tool::text(result.get("content").unwrap_or(&Value::Null))
            } else {
                string(&error, "message").to_owned()
            };
            Call {
                name: format!("mcp__{}__{}", text_at(item, "server")?, text_at(item, "tool")?),
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
            name: text_at(item, "tool")?.to_owned(),
            input: json!({ "prompt": value("prompt"), "receiver_thread_ids": value("receiver_thread_ids") }),
            output: String::new(),
            data: item.get("agents_states").cloned(),
        },
        _ => return None,
    };
    Some(call)
}

/// Codex tells only whether a step is done.
fn todo_list(item: &Value) -> Option<Update> {
    let entries = item.get("items")?.as_array()?.iter().map(|step| {
        let completed = step.get("completed").and_then(Value::as_bool) == Some(true);
        let text = text_at(step, "text")?;
        Some(plan::entry(text, if completed { "completed" } else { "pending" }))
    });
    Some(plan::update(entries.collect::<Option<_>>()?))
}
