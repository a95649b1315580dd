//! What the stream says of the turn's end.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::super::observe::{keep_stderr, lenient, limited, push_text};
use super::super::super::{Observer, cause};
use super::Stats;
use promptd_model::{FinalEvent, Observation, StopReason, Stream, Usage};

#[derive(Default)]
pub(super) struct Reader {
    seen: Observation,
    /// The id of the `init` event, until there is something to resume.
    session_id: Option<String>,
    /// What the model said since its last tool call.
    answer: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient")]
    error: Option<Failure>,
    #[serde(default, deserialize_with = "lenient")]
    stats: Option<Stats>,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        match (&*event.kind, event.role.as_deref()) {
            ("init", _) => self.session_id = event.session_id.map(Cow::into_owned),
            ("message", Some("assistant")) => {
                self.has_answered();
                push_text(&mut self.answer, event.content.as_deref().unwrap_or_default());
            }
            ("tool_use", _) => {
                self.has_answered();
                self.answer.clear();
            }
            ("result", _) => self.result(event),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn has_answered(&mut self) {
        self.seen.failure = None;
        if let Some(id) = self.session_id.take() {
            self.seen.agent_session_id = Some(id);
        }
    }

    fn result(&mut self, event: Event<'_>) {
        let answer = Some(std::mem::take(&mut self.answer)).filter(|answer| !answer.is_empty());
        let usage = event.stats.map(Usage::from).unwrap_or_default();
        let (outcome, stop_reason, result, error) = if event.status.as_deref() == Some("success") {
            (Ok(()), Some(StopReason::EndTurn), answer, None)
        } else {
            let failure = event.error.unwrap_or_default();
            let stop_reason = (failure.kind == "FatalTurnLimitedError").then_some(StopReason::MaxTurnRequests);
            let error = limited(&failure.message);
            (Err(cause::tell(None, &error)), stop_reason, None, Some(error))
        };
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result,
            error,
            usage,
        });
    }
}
