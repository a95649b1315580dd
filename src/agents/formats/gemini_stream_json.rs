//! The output of Gemini CLI, as seen with 0.61.0: `gemini -o stream-json`.
//!
//! What is not obvious:
//! - `result` is final and its `status` decides; the exit code is the HTTP status mod 256, or 0 after a broken stream.
//! - SIGINT ends the stream without a word, exit code 0.
//! - A missing key is said on stderr alone, exit code 41.
//! - A session can be resumed only once the model has answered; before that, its id is used up all the same.
//! - After a broken stream the pieces of the failed attempt are repeated without any mark, so they stand in the answer.
//! - `GOOGLE_GEMINI_BASE_URL` works only together with `security.auth.selectedType` in the user's own settings; we do
//!   not set that, as it would shut out Vertex AI and Google accounts.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::observe::{lenient, limited, push_text};
use super::super::{Observer, cause};
use super::Format;
use crate::model::{FinalEvent, Observation, StopReason, Stream, Usage};

pub(in crate::agents) static GEMINI_STREAM_JSON: Format = Format {
    name: "gemini-stream-json",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: None,
};

#[derive(Default)]
struct Reader {
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

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Stats {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cached: Option<u64>,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return self.seen.stderr(line);
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
        let usage = event.stats.map_or_else(Usage::default, |stats| Usage {
            input_tokens: stats.input_tokens,
            output_tokens: stats.output_tokens,
            cached_tokens: stats.cached,
            cost_usd: None,
        });
        let (outcome, stop_reason, result, error) = if event.status.as_deref() == Some("success") {
            (Ok(()), Some(StopReason::EndTurn), answer, None)
        } else {
            let error = event.error.map(|error| limited(&error.message)).unwrap_or_default();
            (Err(cause::tell(None, &error)), None, None, Some(error))
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
