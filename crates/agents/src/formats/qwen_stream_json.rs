//! The output of Qwen Code, as seen with 0.24.4: `qwen -o stream-json`, in the words of Claude's stream.
//!
//! What differs from Claude's:
//! - `usage` counts over all turns of the session, cached input included; there is no cost.
//! - The error stands in `error.message`, the HTTP status only in its text, and the same text has come as an answer.
//! - A turn that has had all the answers it may have ends with a line on stderr, exit code 53, and no `result`.
//! - SIGINT ends the stream without a word, exit code 130; a resumed session that does not exist, with a line on stderr.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::observe::{keep_stderr, lenient, limited};
use super::super::{Observer, Translator, Update, cause};
use super::{Format, claude_stream_json};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static QWEN_STREAM_JSON: Format = Format {
    name: "qwen-stream-json",
    final_event: true,
    usage_is_cumulative: true,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Updates::default())),
};

/// How the line on stderr begins that stands for the final event where no more answers were allowed.
const TURN_LIMIT: &[u8] = b"Reached max session turns";

#[derive(Default)]
struct Reader {
    seen: Observation,
}

#[derive(Default, Clone)]
struct Updates {
    stream: claude_stream_json::Updates,
}

impl Translator for Updates {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let updates = self.stream.line(line)?;
        Some(updates.into_iter().map(Update::of_all_turns).collect())
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(default)]
    is_error: bool,
    #[serde(default, deserialize_with = "lenient")]
    result: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    error: Failure,
    #[serde(default, deserialize_with = "lenient")]
    usage: Counts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    message: String,
}

#[derive(Deserialize, Default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            keep_stderr(&mut self.seen, line);
            if line.starts_with(TURN_LIMIT) {
                self.turn_limit(line);
            }
            return;
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        match (&*event.kind, event.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = event.session_id.map(Cow::into_owned),
            ("assistant", _) => self.seen.failure = None,
            ("result", _) => self.seen.final_event = Some(result(event)),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn turn_limit(&mut self, line: &[u8]) {
        let error = limited(String::from_utf8_lossy(line).trim());
        self.seen.final_event = Some(FinalEvent {
            outcome: Err(Cause::AgentError),
            stop_reason: Some(StopReason::MaxTurnRequests),
            result: None,
            error: Some(error),
            usage: Usage::default(),
        });
    }
}

fn result(event: Event<'_>) -> FinalEvent {
    let usage = Usage {
        input_tokens: event.usage.input_tokens,
        output_tokens: event.usage.output_tokens,
        cached_tokens: event.usage.cache_read_input_tokens,
        cost_usd: None,
    };
    let (outcome, stop_reason, result, error) = if event.is_error {
        let error = limited(&event.error.message);
        (Err(cause::tell(None, &error)), None, None, Some(error))
    } else {
        let answer = event.result.as_deref().map(limited);
        (Ok(()), Some(StopReason::EndTurn), answer, None)
    };
    FinalEvent {
        outcome,
        stop_reason,
        result,
        error,
        usage,
    }
}

#[cfg(test)]
#[path = "qwen_stream_json_tests.rs"]
pub(super) mod tests;
