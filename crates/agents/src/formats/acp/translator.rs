//! Passes the agent's ACP updates on, without those of former turns.

use std::borrow::Cow;
use std::collections::BTreeSet;

use agent_client_protocol_schema::v1::{CLIENT_METHOD_NAMES, RequestId, SessionUpdate, ToolCall, ToolCallUpdate};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::{INITIALIZE, MODEL, Opening, PROMPT, PromptResult, SESSION};
use crate::output::json_rpc::{self, Message};
use crate::output::update::{Translator, Update};

#[derive(Default, Clone)]
pub(crate) struct AcpTranslator {
    opening: Opening,
    /// The tool calls that have an update.
    calls: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Notification {
    update: SessionUpdate,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    update: UpdateKind<'a>,
}

#[derive(Deserialize)]
struct UpdateKind<'a> {
    #[serde(rename = "sessionUpdate", borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    tool_call: ToolCallUpdate,
}

impl Translator for AcpTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        match json_rpc::parse(line)? {
            Message::Notification { method, params } if *method == *CLIENT_METHOD_NAMES.session_update => {
                let head = serde_json::from_str::<Head<'_>>(params).ok()?;
                self.opening.take_update(&head.update.name);
                let source = serde_json::from_str::<Value>(params).ok()?;
                let update = serde_json::from_value::<Notification>(source.clone()).ok()?.update;
                let is_complete = has_all(source.get("update")?, &update);
                Some(with_raw_unless(self.translate_update(update), is_complete, line))
            }
            Message::Request { method, params, .. } if *method == *CLIENT_METHOD_NAMES.session_request_permission => {
                let source = serde_json::from_str::<Value>(params).ok()?;
                let call = serde_json::from_value::<Question>(source.clone()).ok()?.tool_call;
                let is_complete = has_all(source.get("toolCall")?, &call);
                let update = if self.calls.insert(call.tool_call_id.to_string()) {
                    SessionUpdate::ToolCall(new_call(call))
                } else {
                    SessionUpdate::ToolCallUpdate(call)
                };
                Some(with_raw_unless(vec![update.into()], is_complete, line))
            }
            Message::Result {
                id: id @ RequestId::Number(INITIALIZE | SESSION | MODEL),
                result,
            } => {
                self.opening.take_response(&id, result);
                Some(Vec::new())
            }
            Message::Result {
                id: RequestId::Number(PROMPT),
                result,
            } => {
                let result = serde_json::from_str::<PromptResult>(result).ok()?;
                Some(result.usage().iter().map(|usage| Update::usage(usage, 0)).collect())
            }
            _ => None,
        }
    }
}

impl AcpTranslator {
    fn translate_update(&mut self, update: SessionUpdate) -> Vec<Update> {
        let is_about_the_session = matches!(
            update,
            SessionUpdate::AvailableCommandsUpdate(_)
                | SessionUpdate::CurrentModeUpdate(_)
                | SessionUpdate::ConfigOptionUpdate(_)
                | SessionUpdate::SessionInfoUpdate(_)
        );
        let is_replay = !self.opening.ready && !is_about_the_session;
        // The prompt: its own record has it.
        if is_replay || matches!(update, SessionUpdate::UserMessageChunk(_)) {
            return Vec::new();
        }
        match &update {
            SessionUpdate::ToolCall(call) => self.calls.insert(call.tool_call_id.to_string()),
            SessionUpdate::ToolCallUpdate(call) => self.calls.insert(call.tool_call_id.to_string()),
            _ => false,
        };
        vec![update.into()]
    }
}

/// Adds the line as it is if the updates do not have all of its content: ACP's types ignore fields that they do not know,
/// and nothing may be lost.
fn with_raw_unless(mut updates: Vec<Update>, is_complete: bool, line: &[u8]) -> Vec<Update> {
    if !is_complete && !updates.is_empty() {
        updates.push(Update::raw(line));
    }
    updates
}

/// Whether the parsed value has everything of its source.
fn has_all(source: &Value, parsed: &impl Serialize) -> bool {
    serde_json::to_value(parsed).is_ok_and(|parsed| is_within(source, &parsed))
}

fn is_within(source: &Value, parsed: &Value) -> bool {
    match (source, parsed) {
        (Value::Object(fields), _) => fields.iter().all(|(name, field)| match parsed.get(name) {
            Some(parsed) => is_within(field, parsed),
            None => is_default(name, field),
        }),
        (Value::Array(items), Value::Array(parsed)) => {
            items.len() == parsed.len() && items.iter().zip(parsed).all(|(item, parsed)| is_within(item, parsed))
        }
        (Value::Number(number), Value::Number(parsed)) => number.as_f64() == parsed.as_f64(),
        _ => source == parsed,
    }
}

/// Whether ACP assumes this value for a missing field.
fn is_default(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(word) => matches!((name, word.as_str()), ("status", "pending") | ("kind", "other")),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A call whose first appearance is the question.
fn new_call(update: ToolCallUpdate) -> ToolCall {
    let id = update.tool_call_id.clone();
    ToolCall::try_from(update).unwrap_or_else(|_| ToolCall::new(id, "a tool"))
}
