//! Reads the stream for the turn's end.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;

use super::wire::ResultLine;
use crate::output::cause;
use crate::output::observer::{Observer, default_on_error, failure, limited, parse_event};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

#[derive(Default)]
pub(crate) struct ClaudeObserver {
    seen: Observation,
    /// The sum over all `result`s of this turn.
    usage: Usage,
    /// Background tasks that run, by their ids.
    tasks: HashSet<String>,
    /// A new request to the model followed a `result`: another `result` will come.
    answering: bool,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    /// Of `system/api_retry`.
    error_status: Option<u16>,
    /// Of `system/task_…`.
    #[serde(borrow)]
    task_id: Option<Cow<'a, str>>,
    /// Of `system/task_started`. Versions that report background tasks only do not have it.
    #[serde(default, deserialize_with = "default_on_error")]
    is_backgrounded: Option<bool>,
    /// Of `system/background_tasks_changed`: all tasks that run.
    #[serde(default, deserialize_with = "default_on_error")]
    tasks: Option<Vec<Task>>,
}

#[derive(Deserialize)]
struct Task {
    task_id: String,
}

impl Observer for ClaudeObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let Some(head) = parse_event::<Head<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        self.answering |= self.seen.final_event.is_some() && is_work(&head);
        match (&*head.kind, head.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = head.session_id.map(Cow::into_owned),
            ("system", Some("task_started" | "task_notification" | "background_tasks_changed")) => {
                self.update_tasks(head);
            }
            ("system", Some("api_retry")) => {
                let message = "the model's API is being retried";
                self.seen.failure = Some((cause::classify(head.error_status, message), message.to_owned()));
            }
            ("assistant", _) => self.seen.failure = None,
            ("result", _) => {
                if let Ok(result) = serde_json::from_slice(line) {
                    self.finish(&result);
                }
            }
            _ => {}
        }
        self.seen.busy = self.answering || !self.tasks.is_empty();
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

/// A line that comes only while the model works. A `result` follows.
fn is_work(head: &Head<'_>) -> bool {
    match &*head.kind {
        "system" => matches!(head.subtype.as_deref(), Some("init" | "status")),
        kind => matches!(kind, "stream_event" | "assistant" | "user"),
    }
}

impl ClaudeObserver {
    fn update_tasks(&mut self, head: Head<'_>) {
        match (head.subtype.as_deref(), head.task_id, head.tasks) {
            (_, _, Some(tasks)) => self.tasks = tasks.into_iter().map(|task| task.task_id).collect(),
            (Some("task_started"), Some(id), None) if head.is_backgrounded != Some(false) => {
                self.tasks.insert(id.into_owned());
            }
            (Some("task_notification"), Some(id), None) => {
                self.tasks.remove(&*id);
            }
            _ => {}
        }
    }

    fn finish(&mut self, line: &ResultLine<'_>) {
        self.answering = false;
        self.usage = self.usage.plus(line.usage());
        let text = line.result.as_deref().map(limited);
        let event = if line.is_failure() {
            let errors = || limited(&line.error.clone().unwrap_or_else(|| line.errors.join("; ")));
            let error = text.filter(|text| !text.is_empty()).unwrap_or_else(errors);
            failure(cause::classify(line.api_error_status, &error), error, self.usage)
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
