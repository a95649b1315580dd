//! Reads the stream for the turn's end.

use std::borrow::Cow;
use std::collections::HashSet;

use jiff::Timestamp;
use serde::Deserialize;

use super::wire::ResultLine;
use crate::output::cause;
use crate::output::lines::lenient::{default_on_error, text_or_none};
use crate::output::observer::{Observer, failure, limited, parse_event};
use promptd_model::{Cause, FinalEvent, Observation, Reset, StopReason, Stream, Usage};

#[derive(Default)]
pub(crate) struct ClaudeObserver {
    seen: Observation,
    /// The sum over all `result`s of this turn.
    usage: Usage,
    /// Background tasks that run, by their ids.
    tasks: HashSet<String>,
    /// Tasks that have ended.
    ended_tasks: HashSet<String>,
    /// Tasks for which an answer waits.
    awaited_tasks: HashSet<String>,
    /// Messages that were sent during the turn and that claude has not taken up, by their ids.
    messages: HashSet<String>,
    /// A new request to the model followed a `result`, or the `result` said so: another `result` will come.
    answering: bool,
    /// Why the last request to the model failed, by claude's own name for it.
    error_code: Option<String>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    session_id: Option<Cow<'a, str>>,
    /// Of `system/api_retry`.
    #[serde(default, deserialize_with = "default_on_error")]
    error_status: Option<u16>,
    /// Of `assistant`: why a message replaces the model's answer. Of `system/api_retry`: why the request failed.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    error: Option<Cow<'a, str>>,
    /// Of `rate_limit_event`.
    #[serde(default, deserialize_with = "default_on_error")]
    rate_limit_info: Option<RateLimit>,
    /// Of `system/task_…`.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    task_id: Option<Cow<'a, str>>,
    /// Of `system/task_started`. Versions that report background tasks only do not have it.
    #[serde(default, deserialize_with = "default_on_error")]
    is_backgrounded: Option<bool>,
    /// Of `command_lifecycle`: the message, and what became of it.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    command_uuid: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    state: Option<Cow<'a, str>>,
    /// Of `system/status`: what claude does.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    status: Option<Cow<'a, str>>,
    /// Of `system/background_tasks_changed`: all tasks that run.
    #[serde(default, deserialize_with = "default_on_error")]
    tasks: Option<Vec<Task>>,
}

#[derive(Deserialize)]
struct Task {
    task_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RateLimit {
    status: String,
    /// Seconds of the Unix epoch.
    #[serde(default, deserialize_with = "default_on_error")]
    resets_at: Option<i64>,
}

impl Observer for ClaudeObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let Some(head) = parse_event::<Head<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        self.answering |= self.seen.final_event.is_some() && is_work(&head);
        match (&*head.kind, head.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = head.session_id.map(Cow::into_owned),
            ("system", Some("task_started" | "task_progress" | "task_notification" | "background_tasks_changed")) => {
                self.update_tasks(head);
            }
            ("system", Some("api_retry")) => {
                let (cause, message) = retry(&head);
                self.seen.note_retry(cause, message);
            }
            ("command_lifecycle", _) => self.update_messages(head),
            ("stream_event", _) => self.seen.clear_failure(),
            ("assistant", _) => {
                self.seen.clear_failure();
                self.error_code = head.error.map(Cow::into_owned);
            }
            ("rate_limit_event", _) => {
                let limit = head.rate_limit_info.filter(|limit| limit.status == "rejected");
                let moment = limit.and_then(|limit| Timestamp::from_second(limit.resets_at?).ok());
                self.seen.reset = moment.map(Reset::At);
            }
            ("result", _) => {
                if let Ok(result) = serde_json::from_slice(line) {
                    self.finish(&result);
                }
            }
            _ => {}
        }
        self.seen.busy = self.answering || !self.tasks.is_empty() || !self.messages.is_empty();
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

/// Why a request to the model is being retried: by claude's own name for it, else by the status.
fn retry(head: &Head<'_>) -> (Cause, String) {
    let name = head.error.as_deref().unwrap_or("the reason is not known");
    let status = head
        .error_status
        .map(|status| format!(" ({status})"))
        .unwrap_or_default();
    let cause = cause::of_code(name).unwrap_or_else(|| cause::classify(head.error_status, name));
    (
        cause,
        format!("the request to the model failed and was being retried: {name}{status}"),
    )
}

/// A line that comes only while the model works. A `result` follows.
fn is_work(head: &Head<'_>) -> bool {
    match &*head.kind {
        "system" => match head.subtype.as_deref() {
            Some("init") => true,
            // Without a word, it is what claude writes when it has nothing to do any more.
            Some("status") => head.status.as_deref() == Some("requesting"),
            _ => false,
        },
        // Hooks and interrupts write `user` lines, too.
        kind => matches!(kind, "stream_event" | "assistant"),
    }
}

impl ClaudeObserver {
    fn update_messages(&mut self, head: Head<'_>) {
        let Some(id) = head.command_uuid.map(Cow::into_owned) else {
            return;
        };
        if head.state.as_deref() == Some("queued") {
            self.messages.insert(id);
        } else if self.messages.remove(&id) {
            // Taken up after the turn's `result`: another one will follow.
            self.answering |= self.seen.final_event.is_some() && head.state.as_deref() == Some("started");
        }
    }

    fn update_tasks(&mut self, head: Head<'_>) {
        let subtype = head.subtype.as_deref();
        if let Some(tasks) = head.tasks {
            let running: HashSet<_> = tasks.into_iter().map(|task| task.task_id).collect();
            let before = std::mem::replace(&mut self.tasks, running);
            self.ended_tasks.extend(before);
            self.ended_tasks.retain(|id| !self.tasks.contains(id));
            return;
        }
        let Some(id) = head.task_id.map(Cow::into_owned) else {
            return;
        };
        match subtype {
            Some("task_started") if head.is_backgrounded != Some(false) => {
                self.tasks.insert(id);
            }
            Some("task_started") => {
                self.awaited_tasks.insert(id);
            }
            Some("task_notification") => {
                self.tasks.remove(&id);
                self.ended_tasks.insert(id);
            }
            // No answer waits for a task that continues after the `result`.
            Some("task_progress")
                if !self.ended_tasks.contains(&id)
                    && (self.seen.final_event.is_some() || !self.awaited_tasks.contains(&id)) =>
            {
                self.tasks.insert(id);
            }
            _ => {}
        }
    }

    fn finish(&mut self, line: &ResultLine<'_>) {
        let has_answer = self
            .seen
            .final_event
            .as_ref()
            .is_some_and(|event| event.outcome.is_ok());
        if has_answer && !self.answering && line.is_about_nothing() {
            return;
        }
        self.answering = line.goes_on_in_background();
        self.usage = self.usage.plus(line.usage());
        let text = line.result.as_deref().map(limited);
        let event = if line.is_failure() {
            let errors = || limited(&line.error.clone().unwrap_or_else(|| line.errors.join("; ")));
            let error = text.filter(|text| !text.is_empty()).unwrap_or_else(errors);
            let by_code = self.error_code.take().and_then(|code| cause::of_code(&code));
            let cause = by_code.unwrap_or_else(|| cause::classify(line.api_error_status, &error));
            failure(cause, error, self.usage)
        } else {
            FinalEvent {
                outcome: Ok(()),
                stop_reason: None,
                result: text,
                error: None,
                usage: self.usage,
            }
        };
        let stop_reason = stop_reason(line, event.outcome);
        self.seen.final_event = Some(FinalEvent { stop_reason, ..event });
    }
}

fn stop_reason(line: &ResultLine<'_>, outcome: Result<(), Cause>) -> Option<StopReason> {
    match line.terminal_reason.as_deref() {
        Some("max_turns") => return Some(StopReason::MaxTurnRequests),
        Some(reason) if reason.starts_with("aborted") => return Some(StopReason::Cancelled),
        _ if line.subtype.as_deref() == Some("error_max_turns") => return Some(StopReason::MaxTurnRequests),
        _ => {}
    }
    match line.stop_reason.as_deref() {
        Some("max_tokens") => Some(StopReason::MaxTokens),
        Some("refusal") => Some(StopReason::Refusal),
        // A message that replaces an API error has a regular stop reason, too.
        Some("end_turn" | "stop_sequence") if outcome.is_ok() => Some(StopReason::EndTurn),
        _ => None,
    }
}
