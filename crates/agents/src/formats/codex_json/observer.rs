//! What the stream says of the turn's end.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::super::observe::{keep_stderr, lenient, limited};
use super::super::super::{Observer, cause};
use super::TokenCounts;
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

#[derive(Default)]
pub(super) struct Reader {
    seen: Observation,
    /// The newest message of the agent; the last one is the answer.
    answer: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    thread_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient")]
    error: Option<Failure>,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    #[serde(default, deserialize_with = "lenient")]
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
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        match &*event.kind {
            "thread.started" => self.seen.agent_session_id = event.thread_id.map(Cow::into_owned),
            "error" => {
                let message = event.message.as_deref().map(limited).unwrap_or_default();
                self.seen.failure = Some((cause::tell(None, &message), message));
            }
            "item.completed" => self.item(event.item),
            "turn.completed" => {
                let answer = self.answer.take();
                self.end(Ok(()), Some(StopReason::EndTurn), answer, None, event.usage);
            }
            "turn.failed" => {
                let error = event.error.map(|error| limited(&error.message)).unwrap_or_default();
                self.end(Err(cause::tell(None, &error)), None, None, Some(error), event.usage);
            }
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn item(&mut self, item: Option<Item<'_>>) {
        let Some(item) = item else { return };
        if item.kind != "error" {
            // It got on, whatever it complained about before.
            self.seen.failure = None;
        }
        if item.kind == "agent_message" {
            self.answer = item.text.as_deref().map(limited);
        }
    }

    fn end(
        &mut self,
        outcome: Result<(), Cause>,
        stop_reason: Option<StopReason>,
        result: Option<String>,
        error: Option<String>,
        counts: Option<TokenCounts>,
    ) {
        let usage = counts.map(Usage::from).unwrap_or_default();
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result,
            error,
            usage,
        });
    }
}
