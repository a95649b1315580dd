//! Turns the stream into ACP updates.

use serde_json::Value;

use super::attempts::Attempts;
use super::wire::Stats;
use crate::output::plan::Plans;
use crate::output::session;
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::tool::{checked_str_at, str_at};
use crate::output::update::{Translator, Update, numbered};
use crate::output::usage::{Context, UsageReport};
use promptd_model::Usage;

/// One attempt up to the line that was read last.
#[derive(Default, Clone)]
pub(crate) struct GeminiTranslator {
    plans: Plans,
    calls: Calls,
    attempts: Attempts,
    /// The turn has called a tool, so it makes more than one request.
    called: bool,
}

impl Translator for GeminiTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        match (str_at(&event, "type"), str_at(&event, "role")) {
            ("message", "assistant") => Some(self.translate_chunk(&event)?),
            ("init", _) => {
                let model = session::model(checked_str_at(&event, "model")?)?;
                Some(vec![model, Update::raw(line)])
            }
            // A warning. An error ends the turn, and its `result` has it.
            ("error", _) if str_at(&event, "severity") == "warning" => {
                Some(vec![session::warning(checked_str_at(&event, "message")?)?])
            }
            // The prompt: its own record has it.
            ("message", "user") => Some(Vec::new()),
            ("tool_use", _) => {
                let (id, name) = (checked_str_at(&event, "tool_id")?, checked_str_at(&event, "tool_name")?);
                let input = event.get("parameters").cloned().unwrap_or_default();
                self.plans.start_call(id, name, &input);
                self.attempts.end();
                self.called = true;
                Some(self.calls.start(id, name, input).into_iter().collect())
            }
            ("tool_result", _) => {
                let id = checked_str_at(&event, "tool_id")?;
                let succeeded = str_at(&event, "status") == "success";
                let error = event.get("error");
                let output = [
                    error.map(|error| str_at(error, "message")).unwrap_or_default(),
                    checked_str_at(&event, "output")?,
                ];
                let output = output.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
                let end = End::with_text(succeeded, output).data(error.cloned());
                let mut updates = vec![self.calls.finish(id, end)];
                updates.extend(self.plans.finish_call(id, succeeded, &Value::Null));
                Some(updates)
            }
            ("result", _) => {
                let stats: Stats = serde_json::from_value(event.get("stats")?.clone()).ok()?;
                // The counts are sums over all requests of the turn.
                let context = if self.called {
                    Context::Unknown
                } else {
                    Context::OneRequest
                };
                let mut updates = vec![Update::Usage(UsageReport::new(Usage::from(stats), context, 0))];
                if str_at(&event, "status") != "success" {
                    updates.push(Update::raw(line));
                }
                Some(updates)
            }
            _ => None,
        }
    }
}

impl GeminiTranslator {
    fn translate_chunk(&mut self, event: &Value) -> Option<Vec<Update>> {
        let text = checked_str_at(event, "content")?;
        let void = self.attempts.push(text, str_at(event, "timestamp")).into_iter();
        let message_id = numbered(self.attempts.message());
        let void = void.map(|message| Update::Superseded {
            message_id: numbered(message),
        });
        Some(void.chain([Update::message(text).in_message(message_id)]).collect())
    }
}
