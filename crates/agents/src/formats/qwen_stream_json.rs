//! The output of Qwen Code, as seen with 0.24.4: `qwen -o stream-json`, a variant of claude's stream.
//!
//! The differences to claude's stream:
//! - `usage` is a sum over all turns of the session, with cached input; there is no cost.
//! - The error is in `error.message`, the HTTP status only in its text. The same text was written as an answer before.
//! - A turn that reaches its limit of answers ends with a line on stderr, exit code 53, and no `result`.
//! - SIGINT ends the stream without a further line, exit code 130. A session that does not exist is a line on stderr.

use std::borrow::Cow;

use serde::Deserialize;

use super::claude::CHUNKS;
use super::claude::translator::ClaudeTranslator;
use super::format::Format;
use crate::output::cause;
use crate::output::lines::lenient::{default_on_error, text_or_none};
use crate::output::observer::{Observer, failure, keep_stderr, limited, success};
use crate::output::update::{Translator, Update};
use crate::output::usage::UsageReport;
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static QWEN_STREAM_JSON: Format = Format {
    usage_is_cumulative: true,
    chunks: &CHUNKS,
    ..Format::stream(
        "qwen-stream-json",
        || Box::new(QwenObserver::default()),
        || Box::new(QwenTranslator::default()),
    )
};

/// The beginning of the line on stderr that replaces the final event after the last allowed answer.
const TURN_LIMIT: &[u8] = b"Reached max session turns";

#[derive(Default)]
struct QwenObserver {
    seen: Observation,
}

#[derive(Default, Clone)]
struct QwenTranslator {
    stream: ClaudeTranslator,
}

impl Translator for QwenTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let mut updates = self.stream.translate_line(line)?;
        let context = self.stream.context_with_cache_in_input();
        for update in &mut updates {
            if let Update::Usage(report) = update {
                let counts = serde_json::from_slice::<Event<'_>>(line).ok()?.usage;
                *report = UsageReport::cumulative(counts.into(), context);
            }
        }
        Some(updates)
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    session_id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
    is_error: bool,
    #[serde(default, deserialize_with = "default_on_error")]
    result: Option<String>,
    #[serde(default, deserialize_with = "default_on_error")]
    error: Failure,
    #[serde(default, deserialize_with = "default_on_error")]
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

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        Self {
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            cached_tokens: counts.cache_read_input_tokens,
            cost_usd: None,
        }
    }
}

impl Observer for QwenObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            keep_stderr(&mut self.seen, line);
            if line.starts_with(TURN_LIMIT) {
                self.end_at_turn_limit(line);
            }
            return;
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        match (&*event.kind, event.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = event.session_id.map(Cow::into_owned),
            ("assistant" | "stream_event", _) => self.seen.clear_failure(),
            ("result", _) => self.seen.final_event = Some(result(event)),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl QwenObserver {
    fn end_at_turn_limit(&mut self, line: &[u8]) {
        let error = limited(String::from_utf8_lossy(line).trim());
        self.seen.final_event = Some(FinalEvent {
            stop_reason: Some(StopReason::MaxTurnRequests),
            ..failure(Cause::AgentError, error, Usage::default())
        });
    }
}

fn result(event: Event<'_>) -> FinalEvent {
    let usage = event.usage.into();
    if event.is_error {
        let error = limited(&event.error.message);
        failure(cause::classify(None, &error), error, usage)
    } else {
        success(StopReason::EndTurn, event.result.as_deref().map(limited), usage)
    }
}
