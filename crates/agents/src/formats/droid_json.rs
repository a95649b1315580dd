//! The output of Factory's droid, as seen with 0.215.0: `droid exec -o stream-json`.
//!
//! What is not obvious:
//! - `completion` ends a turn that went well. One that failed ends with `error` lines: the one from the `agent_loop`
//!   tells why, the one from the `cli` only that.
//! - SIGINT gives exit code 0 and no further line.
//! - Nothing comes in pieces, and a thought comes twice.
//! - `usage` counts over all turns of the session, and cached input apart.
//! - A session that droid does not know is begun under the id that was asked for, without a word.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::observe::{keep_stderr, lenient, limited};
use super::super::{Observer, Translator, Update, cause};
use super::{Format, tool};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static DROID_JSON: Format = Format {
    name: "droid-json",
    final_event: true,
    usage_is_cumulative: true,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Words::default())),
};

#[derive(Default)]
struct Reader {
    seen: Observation,
}

#[derive(Default, Clone)]
struct Words {
    /// The id of the last thought.
    thought: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    /// Of a message, a thought, or a tool's call.
    #[serde(default, borrow)]
    id: Cow<'a, str>,
    #[serde(default, borrow)]
    text: Cow<'a, str>,
    #[serde(rename = "toolName", borrow)]
    tool_name: Option<Cow<'a, str>>,
    #[serde(default)]
    parameters: Value,
    #[serde(rename = "isError", default)]
    is_error: bool,
    /// What a tool put out.
    #[serde(default)]
    value: Value,
    /// Why a tool failed.
    #[serde(default)]
    error: Value,
    #[serde(rename = "finalText", borrow)]
    final_text: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Counts>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let cached = counts
            .cache_read_input_tokens
            .saturating_add(counts.cache_creation_input_tokens);
        Self {
            input_tokens: Some(counts.input_tokens.saturating_add(cached)),
            output_tokens: Some(counts.output_tokens),
            cached_tokens: Some(counts.cache_read_input_tokens),
            cost_usd: None,
        }
    }
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        match (&*event.kind, event.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = event.session_id.map(Cow::into_owned),
            ("completion", _) => {
                self.seen.final_event = Some(FinalEvent {
                    outcome: Ok(()),
                    stop_reason: Some(StopReason::EndTurn),
                    result: event.final_text.as_deref().map(limited),
                    error: None,
                    usage: event.usage.map(Usage::from).unwrap_or_default(),
                });
            }
            ("error", _) => self.failed(&event),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn failed(&mut self, event: &Event<'_>) {
        let message = event.message.as_deref().unwrap_or_default();
        let cause = cause::tell(None, message);
        let known = self.seen.final_event.as_ref().is_some_and(|fin| fin.outcome.is_err());
        if known && event.source.as_deref() == Some("cli") && cause == Cause::AgentError {
            return;
        }
        self.seen.final_event = Some(FinalEvent {
            outcome: Err(cause),
            stop_reason: None,
            result: None,
            error: Some(limited(message)),
            usage: Usage::default(),
        });
    }
}

/// Why a tool failed.
fn reason(event: &Event<'_>) -> String {
    match event.error.get("message").and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None if event.error.is_null() => tool::text(&event.value),
        None => tool::text(&event.error),
    }
}

impl Translator for Words {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        let update = match (&*event.kind, event.role.as_deref()) {
            ("message", Some("assistant")) => Update::message(event.text),
            // The prompt, which the caller knows already.
            ("message", Some("user")) => return Some(Vec::new()),
            ("reasoning", _) if !event.id.is_empty() && self.thought == event.id => return Some(Vec::new()),
            ("reasoning", _) => {
                self.thought = event.id.into_owned();
                Update::thought(event.text)
            }
            ("tool_call", _) => tool::started(&event.id, &event.tool_name?, event.parameters),
            ("tool_result", _) if event.is_error => tool::ended(&event.id, false, &reason(&event)),
            ("tool_result", _) => tool::ended(&event.id, true, &tool::text(&event.value)),
            ("completion", _) => Update::usage(&event.usage?.into(), 0).of_all_turns(),
            _ => return None,
        };
        Some(vec![update])
    }
}

#[cfg(test)]
#[path = "droid_json_tests.rs"]
pub(super) mod tests;
