//! The output of Factory's droid, as seen with 0.215.0: `droid exec -o stream-json`.
//!
//! What is not obvious:
//! - `completion` ends a successful turn. A failed turn ends with `error` lines: the line from the `agent_loop` has the
//!   reason, the line from the `cli` says only that the turn failed.
//! - SIGINT gives exit code 0 and no further line.
//! - Nothing comes in chunks, and a thought comes twice.
//! - `usage` is a sum over all turns of the session, and counts cached input separately.
//! - If droid does not know a session, it begins a new one under the requested id, without an error.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::format::Format;
use crate::output::cause;
use crate::output::lines::lenient::{default_on_error, null_is_default};
use crate::output::observer::{Observer, failure, limited, parse_event, success};
use crate::output::plan::Plans;
use crate::output::session;
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::tool;
use crate::output::update::{Translator, Update};
use crate::output::usage::{Context, UsageReport};
use promptd_model::{Cause, Observation, StopReason, Stream, Usage};

pub(crate) static DROID_JSON: Format = Format {
    usage_is_cumulative: true,
    ..Format::stream(
        "droid-json",
        || Box::new(DroidObserver::default()),
        || Box::new(DroidTranslator::default()),
    )
};

struct DroidObserver {
    seen: Observation,
}

/// Droid says nothing at all when it cannot ask its maker's server for the session that it is to resume.
const SILENT: &str = "droid exited without a word, as it does when it cannot reach Factory's server to ask for the session; \
                      let it reach https://api.factory.ai (or what FACTORY_API_BASE_URL names)";

impl Default for DroidObserver {
    fn default() -> Self {
        let seen = Observation {
            silent_failure: Some((Cause::Network, SILENT.to_owned())),
            ..Observation::default()
        };
        Self { seen }
    }
}

#[derive(Default, Clone)]
struct DroidTranslator {
    /// The id of the last thought.
    thought: String,
    calls: Calls,
    plans: Plans,
    /// The turn has called a tool, so it makes more than one request.
    called: bool,
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
    #[serde(default, borrow, deserialize_with = "null_is_default")]
    id: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "null_is_default")]
    text: Cow<'a, str>,
    /// Of `system/init`.
    #[serde(default, borrow, deserialize_with = "null_is_default")]
    cwd: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "null_is_default")]
    model: Cow<'a, str>,
    #[serde(rename = "toolName", borrow)]
    tool_name: Option<Cow<'a, str>>,
    #[serde(default)]
    parameters: Value,
    #[serde(rename = "isError", default, deserialize_with = "null_is_default")]
    is_error: bool,
    /// The output of a tool.
    #[serde(default)]
    value: Value,
    /// Why a tool failed.
    #[serde(default)]
    error: Value,
    #[serde(rename = "finalText", borrow)]
    final_text: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
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

impl Observer for DroidObserver {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        self.seen.silent_failure = None;
        let Some(event) = parse_event::<Event<'_>>(&mut self.seen, stream, line) else {
            return;
        };
        match (&*event.kind, event.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = event.session_id.map(Cow::into_owned),
            ("completion", _) => {
                let usage = event.usage.map(Usage::from).unwrap_or_default();
                let result = event.final_text.as_deref().map(limited);
                self.seen.final_event = Some(success(StopReason::EndTurn, result, usage));
            }
            ("error", _) => self.fail(&event),
            // A request to the model worked again.
            ("message" | "tool_call", _) => self.seen.clear_failure(),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl DroidObserver {
    fn fail(&mut self, event: &Event<'_>) {
        let message = event.message.as_deref().unwrap_or_default();
        let cause = cause::classify(None, message);
        let has_reason = self.seen.final_event.as_ref().is_some_and(|fin| fin.outcome.is_err());
        if has_reason && event.source.as_deref() == Some("cli") && cause == Cause::AgentError {
            return;
        }
        self.seen.final_event = Some(failure(cause, limited(message), Usage::default()));
    }
}

/// Why a tool failed.
fn reason(event: &Event<'_>) -> String {
    match event.error.get("message").and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None if event.error.is_null() => tool::output_text(&event.value),
        None => tool::output_text(&event.error),
    }
}

impl Translator for DroidTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        let update = match (&*event.kind, event.role.as_deref()) {
            ("system", _) if event.subtype.as_deref() == Some("init") => {
                self.calls.set_cwd(&event.cwd);
                return Some(vec![session::model(&event.model)?, Update::raw(line)]);
            }
            ("message", Some("assistant")) => Update::message(event.text).in_message(event.id),
            // The prompt: its own record has it.
            ("message", Some("user")) => return Some(Vec::new()),
            ("reasoning", _) if !event.id.is_empty() && self.thought == event.id => return Some(Vec::new()),
            ("reasoning", _) => {
                self.thought = event.id.clone().into_owned();
                Update::thought(event.text).in_message(event.id)
            }
            ("tool_call", _) => {
                let name = event.tool_name?;
                self.called = true;
                self.plans.start_call(&event.id, &name, &event.parameters);
                return Some(
                    self.calls
                        .start(&event.id, &name, event.parameters)
                        .into_iter()
                        .collect(),
                );
            }
            ("tool_result", _) => {
                let end = if event.is_error {
                    End::with_text(false, &reason(&event))
                } else {
                    End::with_output(true, &event.value)
                };
                let ended = self.calls.finish(&event.id, end);
                let plan = self.plans.finish_call(&event.id, !event.is_error, &event.value);
                return Some([ended].into_iter().chain(plan).collect());
            }
            ("completion", _) => {
                // Sums over all requests of the session.
                let context = if self.called {
                    Context::Unknown
                } else {
                    Context::OneRequest
                };
                Update::Usage(UsageReport::cumulative(event.usage?.into(), context))
            }
            _ => return None,
        };
        Some(vec![update])
    }
}
