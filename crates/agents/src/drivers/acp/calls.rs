//! The tool calls that have begun: a question about one names only what has changed since.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::output::tools::tool::str_at;

/// How many calls are remembered; agents have a few at a time.
const MAX_CALLS: usize = 64;

/// The longest update that is remembered, in bytes. A question about a longer one has what the agent puts into the question.
const MAX_UPDATE: usize = 1 << 20;

/// The calls by their ids, with the members of ACP's `ToolCallUpdate`.
#[derive(Default)]
pub(super) struct Calls(BTreeMap<String, Map<String, Value>>);

impl Calls {
    /// Takes the parameters of a `session/update`.
    pub(super) fn take_update(&mut self, params: &str) {
        if params.len() > MAX_UPDATE || !params.contains("tool_call") {
            return;
        }
        let Ok(mut params) = serde_json::from_str::<Value>(params) else {
            return;
        };
        let Some(Value::Object(mut update)) = params.get_mut("update").map(Value::take) else {
            return;
        };
        let kind = update.remove("sessionUpdate").unwrap_or_default();
        let Some(id) = update.get("toolCallId").and_then(Value::as_str).map(str::to_owned) else {
            return;
        };
        let is_over = |update: &Map<String, Value>| {
            let status = update.get("status").and_then(Value::as_str);
            matches!(status, Some("completed" | "failed"))
        };
        if is_over(&update) {
            self.0.remove(&id);
        } else if kind == "tool_call" && self.0.len() < MAX_CALLS {
            self.0.insert(id, update);
        } else if let Some(known) = self.0.get_mut(&id) {
            known.extend(update.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }

    /// A question's call with what is known of it and not in the question.
    pub(super) fn complete(&self, mut call: Value) -> Value {
        let known = self.0.get(str_at(&call, "toolCallId"));
        if let (Some(known), Some(members)) = (known, call.as_object_mut()) {
            for (name, value) in known {
                let is_missing = members.get(name).is_none_or(is_empty);
                if is_missing {
                    members.insert(name.clone(), value.clone());
                }
            }
        }
        call
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
