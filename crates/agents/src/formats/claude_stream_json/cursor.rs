//! What Cursor's stream has beyond Claude's: calls of tools, and thoughts, as lines of their own.
//!
//! From <https://cursor.com/docs/cli/reference/output-format>: a call is an object whose only key names the tool
//! (`readToolCall`, `writeToolCall`, `function`, …) with `args`, and once it is over, `result`.

use serde_json::Value;

use super::super::super::Update;
use super::super::tool::{self, string, text_at};

/// A line of type `tool_call`.
pub(super) fn tool_call(event: &Value) -> Option<Vec<Update>> {
    let id = text_at(event, "call_id")?;
    let mut calls = event.get("tool_call")?.as_object()?.iter();
    let (key, call) = calls.find(|(_, call)| call.is_object())?;
    match string(event, "subtype") {
        "started" if key == "function" => {
            let arguments = call.get("arguments").cloned().unwrap_or_default();
            let parsed = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
            let input = parsed.unwrap_or(arguments);
            Some(vec![tool::started(id, text_at(call, "name")?, input)])
        }
        "started" => {
            let name = key.strip_suffix("ToolCall").unwrap_or(key);
            let input = call.get("args").cloned().unwrap_or_default();
            Some(vec![tool::started(id, name, input)])
        }
        "completed" => {
            let result = call.get("result").cloned().unwrap_or_default();
            let success = result.get("success");
            let output = success.and_then(|success| success.get("content")).or(success);
            let output = tool::text(output.unwrap_or(&result));
            Some(vec![tool::ended_with(id, success.is_some(), &output, Some(result))])
        }
        _ => None,
    }
}

/// A line of type `thinking`; its end says nothing.
pub(super) fn thinking(event: &Value) -> Option<Vec<Update>> {
    match string(event, "subtype") {
        "completed" => Some(Vec::new()),
        _ => Some(vec![Update::thought(event.get("text")?.as_str()?)]),
    }
}
