//! Reads the stream for the turn's end.

use std::borrow::Cow;

use agent_client_protocol_schema::v1::{CLIENT_METHOD_NAMES, RequestId, StopReason as AcpStopReason};
use serde::Deserialize;

use super::wire::{AUTH_REQUIRED, AgentName, INITIALIZE, MODE, MODEL, Meta, Opening, PROMPT, PromptResult, SESSION};
use crate::output::cause;
use crate::output::lines::json_rpc::{self, Failure, Message};
use crate::output::lines::lenient::default_on_error;
use crate::output::observer::{Observer, keep_stderr, limited, push_text};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

#[derive(Default)]
pub(crate) struct AcpObserver {
    seen: Observation,
    /// Whether the session belongs to an earlier turn.
    resumes: bool,
    opening: Opening,
    /// The session, until a later turn can resume it.
    session_id: Option<String>,
    /// The newest message of the agent; the last one is the answer.
    answer: String,
    /// A tool call came after the text: more text is another message.
    answer_is_over: bool,
    message_id: Option<String>,
    usage: Usage,
    /// It has written a message.
    has_spoken: bool,
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow)]
    update: SentUpdate<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentUpdate<'a> {
    #[serde(borrow)]
    session_update: Cow<'a, str>,
    #[serde(default, deserialize_with = "default_on_error")]
    content: Option<Text>,
    #[serde(default, deserialize_with = "default_on_error")]
    message_id: Option<String>,
    #[serde(default, rename = "_meta", deserialize_with = "default_on_error")]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SessionResult {
    #[serde(deserialize_with = "default_on_error")]
    session_id: Option<String>,
}

/// Whether this is Python's refusal of a file as standard output: agents on ACP's own library for Python need a pipe.
fn refuses_files(line: &[u8]) -> bool {
    const REFUSAL: &[u8] = b"Pipe transport is only for pipes, sockets and character devices";
    memchr::memmem::find(line, REFUSAL).is_some()
}

impl Observer for AcpObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            // Later, it is the refusal of another program in the agent's tree.
            self.seen.needs_pipe |= !self.has_spoken && refuses_files(line);
            return keep_stderr(&mut self.seen, line);
        }
        let message = json_rpc::parse(line);
        self.seen.last_line_known = message.is_some();
        self.has_spoken |= message.is_some();
        match message {
            Some(Message::Notification { method, params }) if *method == *CLIENT_METHOD_NAMES.session_update => {
                if let Ok(Notification { update }) = serde_json::from_str(params) {
                    self.opening.take_update(&update.session_update);
                    if self.opening.ready {
                        self.observe_update(update);
                    }
                }
            }
            Some(Message::Result { id, result }) => self.observe_response(&id, result),
            Some(Message::Error { id, error }) => self.observe_error(&id, &error),
            Some(Message::Notification { .. } | Message::Request { .. }) | None => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl AcpObserver {
    /// For a turn that resumes the session of an earlier one.
    pub(crate) fn resuming(session_id: &str) -> Self {
        Self {
            resumes: true,
            session_id: Some(session_id.to_owned()),
            ..Self::default()
        }
    }

    /// Ends the turn as failed: the driver cannot continue.
    pub(crate) fn fail(&mut self, cause: Cause, error: &str) {
        self.end(Err(cause), None, None, Some(limited(error)), Usage::default());
    }

    /// Ends the turn as cancelled, before the agent had the prompt.
    pub(crate) fn cancel(&mut self) {
        self.finish(AcpStopReason::Cancelled, Usage::default());
    }

    fn observe_update(&mut self, update: SentUpdate<'_>) {
        self.mark_resumable();
        if ["agent_", "tool_call"]
            .iter()
            .any(|kind| update.session_update.starts_with(kind))
        {
            self.seen.clear_failure();
        }
        if &*update.session_update != "agent_message_chunk" {
            // Thoughts, plans and token counts may come between the chunks of one message.
            self.answer_is_over |= update.session_update.starts_with("tool_call");
            return;
        }
        if let Some(tokens) = update.meta.and_then(|meta| meta.usage) {
            self.usage = self.usage.plus(tokens.usage());
        }
        let text = update.content.map(|content| content.text).unwrap_or_default();
        if text.is_empty() {
            return;
        }
        let is_next = update.message_id.is_some() && update.message_id != self.message_id;
        if std::mem::take(&mut self.answer_is_over) || is_next {
            self.answer.clear();
        }
        self.message_id = update.message_id;
        push_text(&mut self.answer, &text);
        // Some agents respond to the prompt before they have sent all chunks.
        if let Some(event) = self.seen.final_event.as_mut().filter(|event| event.error.is_none()) {
            event.result = Some(self.answer.clone());
        }
    }

    /// Reports the session. Before the first update of the turn, an agent may not have stored it.
    fn mark_resumable(&mut self) {
        if let Some(id) = self.session_id.take() {
            self.seen.agent_session_id = Some(id);
        }
    }

    /// Whether the agent can get the prompt: its replay of former turns has ended.
    pub(crate) fn is_ready(&self) -> bool {
        self.opening.ready
    }

    fn observe_response(&mut self, id: &RequestId, result: &str) {
        self.opening.take_response(id, result);
        self.seen.usage_is_cumulative = self.opening.agent == AgentName::Vibe;
        match id {
            RequestId::Number(SESSION) => {
                let result = serde_json::from_str::<SessionResult>(result).unwrap_or_default();
                self.session_id = result.session_id.or(self.session_id.take());
                self.seen.announced_session_id.clone_from(&self.session_id);
            }
            RequestId::Number(PROMPT) => {
                self.mark_resumable();
                match serde_json::from_str::<PromptResult>(result) {
                    Ok(result) if self.is_error_in_disguise(&result) => {
                        let error = std::mem::take(&mut self.answer);
                        let usage = result.usage().unwrap_or_default();
                        self.end(Err(cause::classify(None, &error)), None, None, Some(error), usage);
                    }
                    Ok(result) => self.finish(result.stop_reason, result.usage().unwrap_or(self.usage)),
                    Err(error) => {
                        let error = format!("the agent's response to the prompt is not valid ACP: {error}");
                        self.fail(Cause::AgentError, &error);
                    }
                }
            }
            _ => {}
        }
    }

    fn is_error_in_disguise(&self, result: &PromptResult) -> bool {
        let Some(error) = self.answer.strip_prefix("Error: ") else {
            return false;
        };
        let status = error.split(' ').next().and_then(|word| word.parse::<u16>().ok());
        self.opening.agent == AgentName::Copilot
            && result.stop_reason == AcpStopReason::EndTurn
            && (result.usage().is_none() || status.is_some_and(|status| (400..600).contains(&status)))
    }

    fn finish(&mut self, reason: AcpStopReason, usage: Usage) {
        let reason = match reason {
            AcpStopReason::EndTurn => Some(StopReason::EndTurn),
            AcpStopReason::MaxTokens => Some(StopReason::MaxTokens),
            AcpStopReason::MaxTurnRequests => Some(StopReason::MaxTurnRequests),
            AcpStopReason::Refusal => Some(StopReason::Refusal),
            AcpStopReason::Cancelled => Some(StopReason::Cancelled),
            _ => None,
        };
        let answer = Some(self.answer.clone()).filter(|answer| !answer.is_empty());
        if reason == Some(StopReason::Cancelled) {
            let error = "the agent says that the turn was cancelled".to_owned();
            self.end(Err(Cause::Interrupted), reason, answer, Some(error), usage);
        } else {
            self.end(Ok(()), reason, answer, None, usage);
        }
    }

    fn observe_error(&mut self, id: &RequestId, error: &Failure) {
        let prefix = match id {
            RequestId::Number(SESSION) if self.resumes => "the agent refused to resume its session: ",
            RequestId::Number(SESSION) => "the agent refused to begin a session: ",
            RequestId::Number(MODEL) => "the agent refused the model: ",
            RequestId::Number(MODE) => "the agent refused the mode in which it asks: ",
            RequestId::Number(INITIALIZE) => "the agent refused `initialize`: ",
            RequestId::Number(PROMPT) => "",
            _ => return,
        };
        if *id == RequestId::Number(PROMPT) {
            self.mark_resumable();
        }
        let cause = match error.cause() {
            _ if error.code == AUTH_REQUIRED => Cause::Auth,
            Cause::AgentError if self.resumes && *id == RequestId::Number(SESSION) => Cause::ConversationLost,
            cause => cause,
        };
        let text = format!("{prefix}{}", error.text());
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
