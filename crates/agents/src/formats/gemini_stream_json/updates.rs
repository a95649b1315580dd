//! The stream in ACP's words.

use serde_json::Value;

use super::super::super::{Translator, Update};
use super::super::plan::Plans;
use super::super::tool::{self, string, text_at};
use super::Stats;
use promptd_model::Usage;

/// One attempt, as far as it was read.
#[derive(Default, Clone)]
pub(super) struct Updates {
    plans: Plans,
}

impl Translator for Updates {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        match (string(&event, "type"), string(&event, "role")) {
            ("message", "assistant") => Some(vec![Update::message(text_at(&event, "content")?)]),
            // The prompt again, which is said by the turn's own `prompt` record.
            ("message", "user") => Some(Vec::new()),
            ("tool_use", _) => {
                let (id, name) = (text_at(&event, "tool_id")?, text_at(&event, "tool_name")?);
                let input = event.get("parameters").cloned().unwrap_or_default();
                self.plans.called(id, name, &input);
                Some(vec![tool::started(id, name, input)])
            }
            ("tool_result", _) => {
                let id = text_at(&event, "tool_id")?;
                let succeeded = string(&event, "status") == "success";
                let error = event.get("error");
                let output = [
                    error.map(|error| string(error, "message")).unwrap_or_default(),
                    text_at(&event, "output")?,
                ];
                let output = output.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
                let mut updates = vec![tool::ended_with(id, succeeded, output, error.cloned())];
                updates.extend(self.plans.ended(id, succeeded, &Value::Null));
                Some(updates)
            }
            ("result", _) => {
                let stats: Stats = serde_json::from_value(event.get("stats")?.clone()).ok()?;
                let mut updates = vec![Update::usage(&Usage::from(stats), 0)];
                if string(&event, "status") != "success" {
                    updates.push(Update::raw(line));
                }
                Some(updates)
            }
            _ => None,
        }
    }
}
