//! The stream in ACP's words.

use std::borrow::Cow;
use std::collections::BTreeSet;

use agent_client_protocol_schema::v1::{CLIENT_METHOD_NAMES, RequestId, SessionUpdate, ToolCall, ToolCallUpdate};
use serde::Deserialize;

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
                Some(self.update(serde_json::from_str::<Whole>(params).ok()?.update))
            }
            Message::Request { method, params, .. } if *method == *CLIENT_METHOD_NAMES.session_request_permission => {
                let call = serde_json::from_str::<Asked>(params).ok()?.tool_call;
                if !self.calls.insert(call.tool_call_id.to_string()) {
                    return Some(vec![SessionUpdate::ToolCallUpdate(call).into()]);
                }
                Some(vec![SessionUpdate::ToolCall(announced(call)).into()])
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

/// A call of which nothing was said before the agent asked for it.
fn announced(update: ToolCallUpdate) -> ToolCall {
    let id = update.tool_call_id.clone();
    ToolCall::try_from(update).unwrap_or_else(|_| ToolCall::new(id, "a tool"))
}
