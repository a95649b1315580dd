//! The stream in ACP's words.

use std::borrow::Cow;
use std::collections::BTreeSet;

use agent_client_protocol_schema::v1::{CLIENT_METHOD_NAMES, RequestId, SessionUpdate, ToolCall, ToolCallUpdate};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::super::json_rpc::{self, Message};
use super::super::super::{Translator, Update};
use super::{INITIALIZE, MODEL, Opening, PROMPT, PromptResult, SESSION};

/// The agent's lines are ACP's words already: what is left is to leave out what is not this turn's.
#[derive(Default, Clone)]
pub(super) struct Updates {
    opening: Opening,
    /// The calls that were announced.
    calls: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Whole {
    update: SessionUpdate,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    update: KindOf<'a>,
}

#[derive(Deserialize)]
struct KindOf<'a> {
    #[serde(rename = "sessionUpdate", borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    tool_call: ToolCallUpdate,
}

impl Translator for Updates {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        match json_rpc::parse(line)? {
            Message::Notification { method, params } if *method == *CLIENT_METHOD_NAMES.session_update => {
                let kind = serde_json::from_str::<Kind<'_>>(params).ok()?;
                self.opening.update(&kind.update.name);
                let said = serde_json::from_str::<Value>(params).ok()?;
                let update = serde_json::from_value::<Whole>(said.clone()).ok()?.update;
                let all = is_told(said.get("update")?, &update);
                Some(told(self.update(update), all, line))
            }
            Message::Request { method, params, .. } if *method == *CLIENT_METHOD_NAMES.session_request_permission => {
                let said = serde_json::from_str::<Value>(params).ok()?;
                let call = serde_json::from_value::<Asked>(said.clone()).ok()?.tool_call;
                let all = is_told(said.get("toolCall")?, &call);
                let update = if self.calls.insert(call.tool_call_id.to_string()) {
                    SessionUpdate::ToolCall(announced(call))
                } else {
                    SessionUpdate::ToolCallUpdate(call)
                };
                Some(told(vec![update.into()], all, line))
            }
            Message::Result {
                id: id @ RequestId::Number(INITIALIZE | SESSION | MODEL),
                result,
            } => {
                self.opening.result(&id, result);
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

impl Updates {
    fn update(&mut self, update: SessionUpdate) -> Vec<Update> {
        let is_about_the_session = matches!(
            update,
            SessionUpdate::AvailableCommandsUpdate(_)
                | SessionUpdate::CurrentModeUpdate(_)
                | SessionUpdate::ConfigOptionUpdate(_)
                | SessionUpdate::SessionInfoUpdate(_)
        );
        let is_replay = !self.opening.ready && !is_about_the_session;
        // The prompt stands in the journal already.
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

/// The types of ACP leave out what they do not know, to go on with the rest. Nothing may be lost here: where they have
/// left something out, the line stands behind the update as it is.
fn told(mut updates: Vec<Update>, all: bool, line: &[u8]) -> Vec<Update> {
    if !all && !updates.is_empty() {
        updates.push(Update::raw(line));
    }
    updates
}

/// Whether all that was said is in what it was read as.
fn is_told(said: &Value, read: &impl Serialize) -> bool {
    serde_json::to_value(read).is_ok_and(|read| is_within(said, &read))
}

fn is_within(said: &Value, read: &Value) -> bool {
    match (said, read) {
        (Value::Object(fields), _) => fields.iter().all(|(name, field)| match read.get(name) {
            Some(read) => is_within(field, read),
            None => goes_without_saying(name, field),
        }),
        (Value::Array(items), Value::Array(read)) => {
            items.len() == read.len() && items.iter().zip(read).all(|(item, read)| is_within(item, read))
        }
        (Value::Number(number), Value::Number(read)) => number.as_f64() == read.as_f64(),
        _ => said == read,
    }
}

/// What ACP takes for granted where it is not said.
fn goes_without_saying(name: &str, said: &Value) -> bool {
    match said {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(word) => matches!((name, word.as_str()), ("status", "pending") | ("kind", "other")),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A call of which nothing was said before the agent asked for it.
fn announced(update: ToolCallUpdate) -> ToolCall {
    let id = update.tool_call_id.clone();
    ToolCall::try_from(update).unwrap_or_else(|_| ToolCall::new(id, "a tool"))
}
