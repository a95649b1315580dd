//! Passes the agent's ACP updates on, without those of former turns.

use std::borrow::Cow;
use std::collections::BTreeSet;

use agent_client_protocol_schema::v1::{
    CLIENT_METHOD_NAMES, ContentBlock, ContentChunk, RequestId, SessionUpdate, ToolCall, ToolCallUpdate,
};
use serde::Deserialize;
use serde_json::Value;

use super::complete::has_all;
use super::session;
use super::wire::{AgentName, INITIALIZE, MODEL, Meta, Opening, PROMPT, PromptResult, SESSION};
use crate::output::lines::json_rpc::{self, Message};
use crate::output::update::{Translator, Update, numbered};
use crate::output::usage::{Context, UsageReport, total};
use promptd_model::Usage;

#[derive(Default, Clone)]
pub(crate) struct AcpTranslator {
    opening: Opening,
    /// The tool calls that have an update.
    calls: BTreeSet<String>,
    messages: Messages,
    /// The sum over the requests that the agent has reported.
    usage: Option<Usage>,
    /// The agent says itself how full its context is.
    tells_context: bool,
}

/// Numbers the messages of an agent that gives them no ids.
#[derive(Default, Clone)]
struct Messages {
    number: u64,
    /// What the last chunk was a part of.
    open: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Thought,
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
                let is_session = id == RequestId::Number(SESSION);
                if is_session {
                    session::begin(result)
                } else {
                    Some(Vec::new())
                }
            }
            Message::Result {
                id: RequestId::Number(PROMPT),
                result,
            } => {
                let result = serde_json::from_str::<PromptResult>(result).ok()?;
                self.finish(&result)
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
        let request = match &update {
            SessionUpdate::AgentMessageChunk(chunk) => tokens(chunk),
            _ => None,
        };
        if let Some(request) = request {
            return self.count(update, request);
        }
        self.tells_context |= matches!(update, SessionUpdate::UsageUpdate(_));
        match &update {
            SessionUpdate::ToolCall(call) => self.calls.insert(call.tool_call_id.to_string()),
            SessionUpdate::ToolCallUpdate(call) => self.calls.insert(call.tool_call_id.to_string()),
            _ => false,
        };
        if let (true, Some(retry)) = (
            self.opening.agent == AgentName::Copilot,
            session::copilot_retry(&update),
        ) {
            let void = self.messages.open.take().map(|_| Update::Superseded {
                message_id: numbered(self.messages.number),
            });
            return void.into_iter().chain([retry]).collect();
        }
        vec![self.messages.give_id(update)]
    }

    /// A chunk that has the tokens of a request with it.
    fn count(&mut self, update: SessionUpdate, request: Usage) -> Vec<Update> {
        let counts = self.usage.unwrap_or_default().plus(request);
        self.usage = Some(counts);
        let report = UsageReport::new(counts, Context::Tokens(total(&request)), 0);
        let is_empty = matches!(&update, SessionUpdate::AgentMessageChunk(chunk)
            if matches!(&chunk.content, ContentBlock::Text(text) if text.text.is_empty()));
        let chunk = (!is_empty).then(|| self.messages.give_id(update));
        chunk.into_iter().chain([Update::Usage(report)]).collect()
    }

    /// The turn is over: its tokens.
    fn finish(&mut self, result: &PromptResult) -> Option<Vec<Update>> {
        let Some(usage) = result.usage().filter(|_| self.usage.is_none()) else {
            return Some(Vec::new());
        };
        let is_known = self.tells_context || !self.calls.is_empty();
        let context = if is_known {
            Context::Unknown
        } else {
            Context::OneRequest
        };
        let report = match self.opening.agent {
            // Those of the last answer only.
            AgentName::Opencode => return None,
            AgentName::Vibe => UsageReport::cumulative(usage, context),
            _ => UsageReport::new(usage, context, 0),
        };
        Some(vec![Update::Usage(report)])
    }
}

/// The tokens of a request in the `_meta` of a chunk.
fn tokens(chunk: &ContentChunk) -> Option<Usage> {
    let meta: Meta = serde_json::from_value(Value::Object(chunk.meta.clone()?)).ok()?;
    meta.usage.map(|tokens| tokens.usage())
}

impl Messages {
    /// Gives an id to a chunk that has none. A message ends with a chunk of the other kind, and with a tool call.
    fn give_id(&mut self, update: SessionUpdate) -> Update {
        let (kind, has_id) = match &update {
            SessionUpdate::AgentMessageChunk(chunk) => (Kind::Message, chunk.message_id.is_some()),
            SessionUpdate::AgentThoughtChunk(chunk) => (Kind::Thought, chunk.message_id.is_some()),
            SessionUpdate::ToolCall(_) | SessionUpdate::ToolCallUpdate(_) => {
                self.open = None;
                return update.into();
            }
            _ => return update.into(),
        };
        if has_id {
            return update.into();
        }
        if self.open != Some(kind) {
            self.number = self.number.saturating_add(1);
            self.open = Some(kind);
        }
        Update::from(update).in_message(numbered(self.number))
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

/// A call whose first appearance is the question.
fn new_call(update: ToolCallUpdate) -> ToolCall {
    let id = update.tool_call_id.clone();
    ToolCall::try_from(update).unwrap_or_else(|_| ToolCall::new(id, "a tool"))
}
