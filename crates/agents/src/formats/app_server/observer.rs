//! What the stream tells of the turn's end.

use agent_client_protocol_schema::v1::RequestId;
use serde_json::Value;

use super::super::super::json_rpc::{self, Failure, Message};
use super::super::super::observe::{keep_stderr, limited};
use super::super::super::{Observer, cause};
use super::super::tool::string;
use super::{Counts, INITIALIZE, Place, THREAD, TURN};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream};

/// Reads the agent's lines for the turn's end.
#[derive(Default)]
pub(crate) struct Reader {
    seen: Observation,
    /// Whether the thread is an earlier turn's.
    resumes: bool,
    place: Place,
    counts: Counts,
    /// The newest message of the agent; the last one is the answer.
    answer: Option<String>,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let message = json_rpc::parse(line);
        self.seen.last_line_known = message.is_some();
        match message {
            Some(Message::Notification { method, params }) => {
                if let Ok(params) = serde_json::from_str(params) {
                    self.notified(&method, &params);
                }
            }
            Some(Message::Result { id, result }) => {
                if let Ok(result) = serde_json::from_str(result) {
                    self.place.result(&id, &result);
                }
                if id == RequestId::Number(TURN) {
                    self.seen.agent_session_id.clone_from(&self.place.thread);
                }
            }
            Some(Message::Error { id, error }) => self.refused(&id, &error),
            Some(Message::Request { .. }) | None => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    /// For a turn that is to go on with the thread of an earlier one.
    pub(crate) fn resuming() -> Self {
        Self {
            resumes: true,
            ..Self::default()
        }
    }

    /// The thread, once there is one.
    pub(crate) fn thread(&self) -> Option<&str> {
        self.place.thread.as_deref()
    }

    /// The turn, once there is one.
    pub(crate) fn turn(&self) -> Option<&str> {
        self.place.turn.as_deref()
    }

    /// The turn has failed in the driver's judgement, and is over.
    pub(crate) fn fail(&mut self, error: &str) {
        self.end(Err(Cause::AgentError), None, Some(error.to_owned()));
    }

    /// The turn was cancelled before the agent had the prompt, or with its interrupt.
    pub(crate) fn cancelled(&mut self) {
        let error = "the turn was interrupted".to_owned();
        self.end(Err(Cause::Interrupted), Some(StopReason::Cancelled), Some(error));
    }

    fn notified(&mut self, method: &str, params: &Value) {
        if !self.place.is_ours(params) {
            return;
        }
        match method {
            "thread/tokenUsage/updated" => {
                let _of_this_turn = self.counts.update(&self.place, params);
            }
            "error" => {
                let (cause, message) = told(params.get("error").unwrap_or(&Value::Null));
                self.seen.failure = Some((cause, message));
            }
            "item/completed" => {
                let item = params.get("item").unwrap_or(&Value::Null);
                // It got on, whatever it complained about before.
                self.seen.failure = None;
                if string(item, "type") == "agentMessage" {
                    self.answer = Some(limited(string(item, "text")));
                }
            }
            "turn/completed" => {
                let turn = params.get("turn").unwrap_or(&Value::Null);
                if self.turn().is_some_and(|ours| ours == string(turn, "id")) {
                    self.completed(turn);
                }
            }
            _ => {}
        }
    }

    fn completed(&mut self, turn: &Value) {
        match string(turn, "status") {
            "completed" => self.end(Ok(()), Some(StopReason::EndTurn), None),
            "interrupted" => self.cancelled(),
            _ => {
                let (cause, message) = told(turn.get("error").unwrap_or(&Value::Null));
                self.end(Err(cause), None, Some(message));
            }
        }
    }

    fn refused(&mut self, id: &RequestId, error: &Failure) {
        let what = match id {
            RequestId::Number(THREAD) if self.resumes => "the agent refused to resume its session: ",
            RequestId::Number(THREAD) => "the agent refused to begin a session: ",
            RequestId::Number(INITIALIZE) => "the agent refused to be talked with: ",
            RequestId::Number(TURN) => "the agent refused the prompt: ",
            _ => return,
        };
        self.end(Err(error.cause()), None, Some(format!("{what}{}", error.text())));
    }

    fn end(&mut self, outcome: Result<(), Cause>, stop_reason: Option<StopReason>, error: Option<String>) {
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result: self.answer.take(),
            error,
            usage: self.counts.turn,
        });
    }
}

/// Why a turn failed, by the agent's own classes where they tell (`CodexErrorInfo`).
fn told(error: &Value) -> (Cause, String) {
    let message = limited(string(error, "message"));
    let info = error.get("codexErrorInfo").unwrap_or(&Value::Null);
    let cause = match info.as_str() {
        Some("unauthorized") => Cause::Auth,
        Some("usageLimitExceeded" | "rateLimitExceeded" | "sessionBudgetExceeded") => Cause::Quota,
        Some("serverOverloaded" | "policyCapacityUnavailable" | "flexUnavailable" | "internalServerError") => {
            Cause::Overloaded
        }
        _ => {
            let kinds = info.as_object().into_iter().flat_map(|kinds| kinds.values());
            let status = kinds.into_iter().find_map(|kind| kind.get("httpStatusCode")?.as_u64());
            cause::tell(status.and_then(|status| u16::try_from(status).ok()), &message)
        }
    };
    (cause, message)
}
