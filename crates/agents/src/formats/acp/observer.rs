//! What the stream tells of the turn's end.

use std::borrow::Cow;

use agent_client_protocol_schema::v1::{CLIENT_METHOD_NAMES, RequestId, StopReason as AcpStopReason};
use serde::Deserialize;

use super::super::super::json_rpc::{self, Failure, Message};
use super::super::super::observe::{keep_stderr, lenient, limited, push_text};
use super::super::super::{Observer, cause};
use super::{AUTH_REQUIRED, AgentName, INITIALIZE, MODEL, Meta, Opening, PROMPT, PromptResult, SESSION};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

/// Reads the agent's lines for the turn's end.
#[derive(Default)]
pub(crate) struct Reader {
    seen: Observation,
    /// Whether the session is an earlier turn's.
    resumes: bool,
    opening: Opening,
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

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let message = json_rpc::parse(line);
        self.seen.last_line_known = message.is_some();
        match message {
            Some(Message::Notification { method, params }) if *method == *CLIENT_METHOD_NAMES.session_update => {
                if let Ok(Notified { update }) = serde_json::from_str(params) {
                    self.opening.update(&update.session_update);
                    if self.opening.ready {
                        self.piece(update);
                    }
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
    pub(crate) fn resuming(session_id: &str) -> Self {
        Self {
            resumes: true,
            session_id: Some(session_id.to_owned()),
            ..Self::default()
        }
    }

    /// The turn has failed in the driver's judgement, and is over.
    pub(crate) fn fail(&mut self, cause: Cause, error: &str) {
        self.end(Err(cause), None, None, Some(limited(error)), Usage::default());
    }

    /// The turn was cancelled before the agent had the prompt.
    pub(crate) fn cancelled(&mut self) {
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

    /// Whether the agent may have the prompt: all of former turns that it says again is said.
    pub(crate) fn is_ready(&self) -> bool {
        self.opening.ready
    }

    fn result(&mut self, id: &RequestId, result: &str) {
        self.opening.result(id, result);
        match id {
            RequestId::Number(SESSION) => {
                let result = serde_json::from_str::<SessionResult>(result).unwrap_or_default();
                self.session_id = result.session_id.or(self.session_id.take());
            }
            RequestId::Number(PROMPT) => {
                self.has_begun();
                match serde_json::from_str::<PromptResult>(result) {
                    Ok(result) if self.is_error_in_disguise(&result) => {
                        let error = std::mem::take(&mut self.answer);
                        let usage = result.usage().unwrap_or_default();
                        self.end(Err(cause::tell(None, &error)), None, None, Some(error), usage);
                    }
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

    fn is_error_in_disguise(&self, result: &PromptResult) -> bool {
        let Some(error) = self.answer.strip_prefix("Error: ") else {
            return false;
        };
        let status = error.split(' ').next().and_then(|word| word.parse::<u16>().ok());
        self.opening.agent == AgentName::Copilot
            && result.stop_reason == AcpStopReason::EndTurn
            && (result.usage().is_none() || status.is_some_and(|status| (400..600).contains(&status)))
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
