//! Reads the stream for the turn's end.

use std::borrow::Cow;

use serde::Deserialize;

use super::attempts::Attempts;
use super::wire::Stats;
use crate::output::cause;
use crate::output::lines::lenient::{default_on_error, text_or_none};
use crate::output::observer::{Observer, failure, limited, parse_event, push_text, success};
use promptd_model::{FinalEvent, Observation, StopReason, Stream, Usage};

#[derive(Default)]
pub(crate) struct GeminiObserver {
    seen: Observation,
    /// The id of the `init` event, until the session can be resumed.
    session_id: Option<String>,
    /// The text since the last tool call, by the number of its message.
    answer: Vec<(u64, String)>,
    attempts: Attempts,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    status: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
    error: Option<Failure>,
    #[serde(default, deserialize_with = "default_on_error")]
    stats: Option<Stats>,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Observer for GeminiObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let Some(event) = parse_event::<Event<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        match (&*event.kind, event.role.as_deref()) {
            ("init", _) => {
                self.session_id = event.session_id.map(Cow::into_owned);
                self.seen.announced_session_id.clone_from(&self.session_id);
            }
            ("message", Some("assistant")) => {
                self.mark_answered();
                let time = event.timestamp.as_deref().unwrap_or_default();
                self.push_chunk(event.content.as_deref().unwrap_or_default(), time);
            }
            ("tool_use", _) => {
                self.mark_answered();
                self.answer.clear();
                self.attempts.end();
            }
            ("result", _) => self.finish(event),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl GeminiObserver {
    fn push_chunk(&mut self, chunk: &str, time: &str) {
        let void = self.attempts.push(chunk, time);
        self.answer.retain(|(message, _)| !void.contains(message));
        let message = self.attempts.message();
        match self.answer.last_mut().filter(|(last, _)| *last == message) {
            Some((_, text)) => push_text(text, chunk),
            None => self.answer.push((message, limited(chunk))),
        }
    }

    fn mark_answered(&mut self) {
        self.seen.clear_failure();
        if let Some(id) = self.session_id.take() {
            self.seen.agent_session_id = Some(id);
        }
    }

    fn finish(&mut self, event: Event<'_>) {
        let answer: String = self.answer.drain(..).map(|(_, text)| text).collect();
        let answer = Some(limited(&answer)).filter(|answer| !answer.is_empty());
        let usage = event.stats.map(Usage::from).unwrap_or_default();
        self.seen.final_event = Some(if event.status.as_deref() == Some("success") {
            success(StopReason::EndTurn, answer, usage)
        } else {
            let reason = event.error.unwrap_or_default();
            let error = limited(&reason.message);
            FinalEvent {
                stop_reason: (reason.kind == "FatalTurnLimitedError").then_some(StopReason::MaxTurnRequests),
                ..failure(cause::classify(None, &error), error, usage)
            }
        });
    }
}
