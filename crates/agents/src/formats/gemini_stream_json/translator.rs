//! Turns the stream into ACP updates.

use serde_json::Value;

use super::wire::Stats;
use crate::output::plan::Plans;
use crate::output::tool::{self, checked_str_at, str_at};
use crate::output::update::{Translator, Update};
use promptd_model::Usage;

/// One attempt up to the line that was read last.
#[derive(Default, Clone)]
pub(crate) struct GeminiTranslator {
    plans: Plans,
}

impl Translator for GeminiTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        match (str_at(&event, "type"), str_at(&event, "role")) {
            ("message", "assistant") => Some(vec![Update::message(checked_str_at(&event, "content")?)]),
            // The prompt: its own record has it.
            ("message", "user") => Some(Vec::new()),
            ("tool_use", _) => {
                let (id, name) = (checked_str_at(&event, "tool_id")?, checked_str_at(&event, "tool_name")?);
                let input = event.get("parameters").cloned().unwrap_or_default();
                self.plans.start_call(id, name, &input);
                Some(vec![tool::started(id, name, input)])
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
                let mut updates = vec![tool::finished_with(id, succeeded, output, error.cloned())];
                updates.extend(self.plans.finish_call(id, succeeded, &Value::Null));
                Some(updates)
            }
            ("result", _) => {
                let stats: Stats = serde_json::from_value(event.get("stats")?.clone()).ok()?;
                let mut updates = vec![Update::usage(&Usage::from(stats), 0)];
                if str_at(&event, "status") != "success" {
                    updates.push(Update::raw(line));
                }
                Some(updates)
            }
            _ => None,
        }
    }
}
