//! Reads the stream for the turn's end.

use std::borrow::Cow;

use serde::Deserialize;

use super::wire::TokenCounts;
use crate::output::cause;
use crate::output::lines::lenient::{default_on_error, text_or_none};
use crate::output::observer::{Observer, failure, limited, parse_event, success};
use promptd_model::{Observation, StopReason, Stream, Usage};

#[derive(Default)]
pub(crate) struct CodexObserver {
    seen: Observation,
    /// The newest message of the agent; the last one is the answer.
    answer: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    thread_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    message: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
    error: Option<Failure>,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    #[serde(default, deserialize_with = "default_on_error")]
    usage: Option<TokenCounts>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    text: Option<Cow<'a, str>>,
}

impl Observer for CodexObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let Some(event) = parse_event::<Event<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        match &*event.kind {
            "thread.started" => self.seen.agent_session_id = event.thread_id.map(Cow::into_owned),
            "error" => {
                let message = event.message.as_deref().map(limited).unwrap_or_default();
                self.seen.note_retry(cause::classify(None, &message), message);
            }
            "item.started" | "item.updated" => self.seen.clear_failure(),
            "item.completed" => self.observe_item(event.item),
            "turn.completed" => {
                let usage = event.usage.map(Usage::from).unwrap_or_default();
                self.seen.final_event = Some(success(StopReason::EndTurn, self.answer.take(), usage));
            }
            "turn.failed" => {
                let error = event.error.map(|error| limited(&error.message)).unwrap_or_default();
                let usage = event.usage.map(Usage::from).unwrap_or_default();
                self.seen.final_event = Some(failure(cause::classify(None, &error), error, usage));
            }
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl CodexObserver {
    fn observe_item(&mut self, item: Option<Item<'_>>) {
        let Some(item) = item else { return };
        if item.kind != "error" {
            // Codex continued after the failure.
            self.seen.clear_failure();
        }
        if item.kind == "agent_message" {
            self.answer = item.text.as_deref().map(limited);
        }
    }
}
