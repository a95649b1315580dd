//! Reads the stream for the turn's end.

use agent_client_protocol_schema::v1::RequestId;
use jiff::Timestamp;
use serde_json::Value;

use super::wire::{Counts, INITIALIZE, THREAD, TURN, TurnIds};
use crate::output::cause;
use crate::output::lines::json_rpc::{self, Failure, Message};
use crate::output::observer::{Observer, keep_stderr, limited};
use crate::output::tools::tool::str_at;
use promptd_model::{Cause, FinalEvent, Observation, Reset, StopReason, Stream};

#[derive(Default)]
pub(crate) struct AppServerObserver {
    seen: Observation,
    /// Whether the thread belongs to an earlier turn.
    resumes: bool,
    ids: TurnIds,
    counts: Counts,
    /// The newest message of the agent; the last one is the answer.
    answer: Option<String>,
}

impl Observer for AppServerObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let message = json_rpc::parse(line);
        self.seen.last_line_known = message.is_some();
        match message {
            Some(Message::Notification { method, params }) => {
                if let Ok(params) = serde_json::from_str(params) {
                    self.observe_notification(&method, &params);
                }
            }
            Some(Message::Result { id, result }) => {
                if let Ok(result) = serde_json::from_str(result) {
                    self.ids.take_response(&id, &result);
                    self.seen.announced_session_id.clone_from(&self.ids.thread);
                }
                if id == RequestId::Number(TURN) {
                    self.seen.agent_session_id.clone_from(&self.ids.thread);
                }
            }
            Some(Message::Error { id, error }) => self.observe_error(&id, &error),
            Some(Message::Request { .. }) | None => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl AppServerObserver {
    /// For a turn that resumes the thread of an earlier one.
    pub(crate) fn resuming() -> Self {
        Self {
            resumes: true,
            ..Self::default()
        }
    }

    /// The thread, once there is one.
    pub(crate) fn thread(&self) -> Option<&str> {
        self.ids.thread.as_deref()
    }

    /// The turn, once there is one.
    pub(crate) fn turn(&self) -> Option<&str> {
        self.ids.turn.as_deref()
    }

    /// Ends the turn as failed: the driver cannot continue.
    pub(crate) fn fail(&mut self, error: &str) {
        self.end(Err(Cause::AgentError), None, Some(error.to_owned()));
    }

    /// Ends the turn as cancelled, before the agent had the prompt or by its interrupt.
    pub(crate) fn cancel(&mut self) {
        let error = "the turn was interrupted".to_owned();
        self.end(Err(Cause::Interrupted), Some(StopReason::Cancelled), Some(error));
    }

    fn observe_notification(&mut self, method: &str, params: &Value) {
        if !self.ids.is_ours(params) {
            return;
        }
        match method {
            "account/rateLimits/updated" => self.seen.reset = reset(params),
            "thread/tokenUsage/updated" => {
                let _of_this_turn = self.counts.update(&self.ids, params);
            }
            "error" => {
                let (cause, message) = classify(params.get("error").unwrap_or(&Value::Null));
                self.seen.note_retry(cause, message);
            }
            "item/started"
            | "item/agentMessage/delta"
            | "item/reasoning/summaryTextDelta"
            | "item/reasoning/textDelta" => {
                self.seen.clear_failure();
            }
            "item/completed" => {
                let item = params.get("item").unwrap_or(&Value::Null);
                // Codex continued after the failure.
                self.seen.clear_failure();
                if str_at(item, "type") == "agentMessage" {
                    self.answer = Some(limited(str_at(item, "text")));
                }
            }
            "turn/completed" => {
                let turn = params.get("turn").unwrap_or(&Value::Null);
                if self.turn().is_some_and(|ours| ours == str_at(turn, "id")) {
                    self.finish(turn);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, turn: &Value) {
        match str_at(turn, "status") {
            "completed" => self.end(Ok(()), Some(StopReason::EndTurn), None),
            "interrupted" => self.cancel(),
            _ => {
                let (cause, message) = classify(turn.get("error").unwrap_or(&Value::Null));
                self.end(Err(cause), None, Some(message));
            }
        }
    }

    fn observe_error(&mut self, id: &RequestId, error: &Failure) {
        let what = match id {
            RequestId::Number(THREAD) if self.resumes => "the agent refused to resume its session: ",
            RequestId::Number(THREAD) => "the agent refused to begin a session: ",
            RequestId::Number(INITIALIZE) => "the agent refused `initialize`: ",
            RequestId::Number(TURN) => "the agent refused the prompt: ",
            _ => return,
        };
        let cause = match error.cause() {
            Cause::AgentError if self.resumes && *id == RequestId::Number(THREAD) => Cause::ConversationLost,
            cause => cause,
        };
        self.end(Err(cause), None, Some(format!("{what}{}", error.text())));
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

/// Codex's classes for a connection that could not be made or broke. They can have an HTTP status, which says more.
const BROKEN_CONNECTION: [&str; 4] = [
    "httpConnectionFailed",
    "responseStreamConnectionFailed",
    "responseStreamDisconnected",
    "responseTooManyFailedAttempts",
];

/// Why a turn failed: by codex's own classes (`CodexErrorInfo`), else by status and message.
fn classify(error: &Value) -> (Cause, String) {
    let message = limited(str_at(error, "message"));
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
            let by_text = cause::classify(status.and_then(|status| u16::try_from(status).ok()), &message);
            let names = info.as_object().into_iter().flat_map(|kinds| kinds.keys());
            let is_about_network = names.into_iter().any(|name| BROKEN_CONNECTION.contains(&name.as_str()));
            if by_text == Cause::AgentError && is_about_network {
                Cause::Network
            } else {
                by_text
            }
        }
    };
    (cause, message)
}

/// When the limits that are used up are reset.
fn reset(params: &Value) -> Option<Reset> {
    let limits = params.get("rateLimits")?;
    let windows = ["primary", "secondary"].into_iter().filter_map(|name| limits.get(name));
    let used_up = windows.filter(|window| {
        window
            .get("usedPercent")
            .and_then(Value::as_f64)
            .is_some_and(|used| used >= 100.0)
    });
    let last = used_up.filter_map(|window| window.get("resetsAt")?.as_i64()).max()?;
    Timestamp::from_second(last).ok().map(Reset::At)
}
