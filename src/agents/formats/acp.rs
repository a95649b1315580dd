//! What an agent says in the Agent Client Protocol, version 1 (<https://agentclientprotocol.com>), as seen with gemini
//! 0.61.0, opencode 1.18.33, qwen 0.24.4 and copilot 1.0.102.
//!
//! The ids of our own requests are fixed ([`INITIALIZE`] and so on), so that the agent's lines alone tell what is
//! answered. What is not obvious:
//! - `session/load` sends the former turns again before it answers; they are none of this turn's doing.
//! - Tokens stand in the prompt's result (`usage`, not yet in the standard), in its `_meta` (gemini), or in the `_meta`
//!   of an empty piece of text after each of the model's answers (qwen). Opencode reports its last answer only.
//! - Some count cached input as a part of the input, some beside it; the total tells which.
//! - Gemini sends no `tool_call` before it asks whether it may; the call stands in the question alone.

use std::borrow::Cow;
use std::collections::BTreeSet;

use agent_client_protocol_schema::v1::{
    AGENT_METHOD_NAMES, CLIENT_METHOD_NAMES, RequestId, SessionUpdate, StopReason as AcpStopReason, ToolCall,
    ToolCallUpdate,
};
use serde::Deserialize;

use super::super::json_rpc::{self, Failure, Message};
use super::super::observe::{lenient, limited, push_text};
use super::super::{Observer, Translator, Update};
use super::Format;
use crate::model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(in crate::agents) static ACP: Format = Format {
    name: "acp",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Updates::default())),
};

/// The id of our `initialize`.
pub(in crate::agents) const INITIALIZE: i64 = 1;
/// The id of our `session/new`, `session/resume` or `session/load`.
pub(in crate::agents) const SESSION: i64 = 2;
/// The id of our `session/prompt`.
pub(in crate::agents) const PROMPT: i64 = 3;
/// The id of our request to take a model.
pub(in crate::agents) const MODEL: i64 = 4;

/// ACP's code for "authentication is needed before this can be done".
const AUTH_REQUIRED: i64 = -32000;

/// Reads the agent's lines for the turn's end.
#[derive(Default)]
pub(in crate::agents) struct Reader {
    seen: Observation,
    /// Whether the session is an earlier turn's.
    resumes: bool,
    /// The session is there: what comes now belongs to this turn.
    ready: bool,
    /// The session, until there is something in it that a later turn can resume.
    session_id: Option<String>,
    /// The newest message of the agent; the last one is the answer.
    answer: String,
    /// What has come since is not text: more text is another message.
    answer_is_over: bool,
    message_id: Option<String>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Notified<'a> {
    #[serde(borrow)]
    update: Piece<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece<'a> {
    #[serde(borrow)]
    session_update: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    content: Option<Text>,
    #[serde(default, deserialize_with = "lenient")]
    message_id: Option<String>,
    #[serde(default, rename = "_meta", deserialize_with = "lenient")]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SessionResult {
    #[serde(deserialize_with = "lenient")]
    session_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptResult {
    stop_reason: AcpStopReason,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Tokens>,
    #[serde(default, rename = "_meta", deserialize_with = "lenient")]
    meta: Option<Meta>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    #[serde(deserialize_with = "lenient")]
    usage: Option<Tokens>,
    #[serde(deserialize_with = "lenient")]
    quota: Option<Quota>,
}

#[derive(Deserialize)]
struct Quota {
    token_count: QuotaTokens,
}

#[derive(Deserialize)]
struct QuotaTokens {
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "they are the wire's")]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: Option<u64>,
    cached_read_tokens: Option<u64>,
    cached_write_tokens: Option<u64>,
}

impl Tokens {
    fn usage(&self) -> Usage {
        let beside = self
            .cached_read_tokens
            .unwrap_or(0)
            .saturating_add(self.cached_write_tokens.unwrap_or(0));
        let all = self.input_tokens.saturating_add(beside);
        let is_beside = self
            .total_tokens
            .is_some_and(|total| all.saturating_add(self.output_tokens) <= total);
        Usage {
            input_tokens: Some(if is_beside { all } else { self.input_tokens }),
            output_tokens: Some(self.output_tokens),
            cached_tokens: self.cached_read_tokens,
            cost_usd: None,
        }
    }
}

impl PromptResult {
    fn usage(&self) -> Option<Usage> {
        let meta = self.meta.as_ref();
        let tokens = self.usage.as_ref().or_else(|| meta?.usage.as_ref());
        tokens.map(Tokens::usage).or_else(|| {
            let tokens = &meta?.quota.as_ref()?.token_count;
            Some(Usage {
                input_tokens: Some(tokens.input_tokens),
                output_tokens: Some(tokens.output_tokens),
                ..Usage::default()
            })
        })
    }
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return self.seen.stderr(line);
        }
        let message = json_rpc::parse(line);
        self.seen.last_line_known = message.is_some();
        match message {
            Some(Message::Notification { method, params }) if *method == *CLIENT_METHOD_NAMES.session_update => {
                if let Ok(notified) = serde_json::from_str::<Notified<'_>>(params)
                    && self.ready
                {
                    self.piece(notified.update);
                }
            }
            Some(Message::Result { id, result }) => self.result(&id, result),
            Some(Message::Error { id, error }) => self.error(&id, &error),
            Some(Message::Notification { .. } | Message::Request { .. }) | None => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    /// For a turn that is to go on with the session of an earlier one.
    pub(in crate::agents) fn resuming(session_id: &str) -> Self {
        Self {
            resumes: true,
            session_id: Some(session_id.to_owned()),
            ..Self::default()
        }
    }

    /// The turn has failed in the driver's judgement, and is over.
    pub(in crate::agents) fn fail(&mut self, cause: Cause, error: &str) {
        self.end(Err(cause), None, None, Some(limited(error)), Usage::default());
    }

    /// The turn was cancelled before the agent had the prompt.
    pub(in crate::agents) fn cancelled(&mut self) {
        self.stopped(AcpStopReason::Cancelled, Usage::default());
    }

    fn piece(&mut self, piece: Piece<'_>) {
        self.has_begun();
        if &*piece.session_update != "agent_message_chunk" {
            // Thoughts, plans and counts come between the pieces of one message too.
            self.answer_is_over |= piece.session_update.starts_with("tool_call");
            return;
        }
        self.seen.failure = None;
        if let Some(tokens) = piece.meta.and_then(|meta| meta.usage) {
            self.usage = self.usage.plus(tokens.usage());
        }
        let text = piece.content.map(|content| content.text).unwrap_or_default();
        if text.is_empty() {
            return;
        }
        let is_another = piece.message_id.is_some() && piece.message_id != self.message_id;
        if std::mem::take(&mut self.answer_is_over) || is_another {
            self.answer.clear();
        }
        self.message_id = piece.message_id;
        push_text(&mut self.answer, &text);
    }

    /// Whether an agent keeps a session in which nothing was said is its own affair.
    fn has_begun(&mut self) {
        if let Some(id) = self.session_id.take() {
            self.seen.agent_session_id = Some(id);
        }
    }

    fn result(&mut self, id: &RequestId, result: &str) {
        match id {
            RequestId::Number(SESSION) => {
                self.ready = true;
                let result = serde_json::from_str::<SessionResult>(result).unwrap_or_default();
                self.session_id = result.session_id.or(self.session_id.take());
            }
            RequestId::Number(PROMPT) => {
                self.has_begun();
                match serde_json::from_str::<PromptResult>(result) {
                    Ok(result) => self.stopped(result.stop_reason, result.usage().unwrap_or(self.usage)),
                    Err(error) => {
                        let error = format!("the agent's answer to the prompt is not ACP's: {error}");
                        self.fail(Cause::AgentError, &error);
                    }
                }
            }
            _ => {}
        }
    }

    fn stopped(&mut self, reason: AcpStopReason, usage: Usage) {
        let reason = match reason {
            AcpStopReason::EndTurn => Some(StopReason::EndTurn),
            AcpStopReason::MaxTokens => Some(StopReason::MaxTokens),
            AcpStopReason::MaxTurnRequests => Some(StopReason::MaxTurnRequests),
            AcpStopReason::Refusal => Some(StopReason::Refusal),
            AcpStopReason::Cancelled => Some(StopReason::Cancelled),
            _ => None,
        };
        let answer = Some(std::mem::take(&mut self.answer)).filter(|answer| !answer.is_empty());
        if reason == Some(StopReason::Cancelled) {
            let error = "the agent says that the turn was cancelled".to_owned();
            self.end(Err(Cause::Interrupted), reason, answer, Some(error), usage);
        } else {
            self.end(Ok(()), reason, answer, None, usage);
        }
    }

    fn error(&mut self, id: &RequestId, error: &Failure) {
        let refused = match id {
            RequestId::Number(SESSION) if self.resumes => "the agent refused to resume its session: ",
            RequestId::Number(SESSION) => "the agent refused to begin a session: ",
            RequestId::Number(MODEL) => "the agent refused the model: ",
            RequestId::Number(INITIALIZE) => "the agent refused to be talked with: ",
            RequestId::Number(PROMPT) => "",
            _ => return,
        };
        if *id == RequestId::Number(PROMPT) {
            self.has_begun();
        }
        let cause = if error.code == AUTH_REQUIRED {
            Cause::Auth
        } else {
            error.cause()
        };
        let text = format!("{refused}{}", error.text());
        let usage = self.usage;
        self.end(Err(cause), None, None, Some(text), usage);
    }

    fn end(
        &mut self,
        outcome: Result<(), Cause>,
        stop_reason: Option<StopReason>,
        result: Option<String>,
        error: Option<String>,
        usage: Usage,
    ) {
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result,
            error,
            usage,
        });
    }
}

/// The agent's lines are ACP's words already: what is left is to leave out what is not this turn's.
#[derive(Clone, Default)]
struct Updates {
    ready: bool,
    /// The calls that were announced.
    calls: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Whole {
    update: SessionUpdate,
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
                id: RequestId::Number(id @ (INITIALIZE | SESSION | MODEL)),
                ..
            } => {
                self.ready |= id == SESSION;
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
        let is_replay = !self.ready && !is_about_the_session;
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

/// The method of a notification that cancels a turn.
pub(in crate::agents) const CANCEL: &str = AGENT_METHOD_NAMES.session_cancel;

#[cfg(test)]
#[path = "acp_tests.rs"]
mod tests;
