//! The lines about the session and its requests: `system`, and `rate_limit_event`.

use agent_client_protocol_schema::v1::{CompactionStatus, NoticeSeverity};
use serde_json::Value;

use crate::output::session::{self, Retry};
use crate::output::tools::tool::{checked_str_at, str_at};
use crate::output::update::{Update, numbered};

/// What the lines so far have said.
#[derive(Default, Clone)]
pub(super) struct State {
    /// The commands, the mode and the model of the last `init`: each turn repeats them.
    commands: Vec<String>,
    mode: String,
    model: String,
    /// How many compactions began, and whether the last one runs.
    compactions: u64,
    is_compacting: bool,
}

impl State {
    /// The updates of a system line; `None` if it has none.
    pub(super) fn translate(&mut self, event: &Value) -> Option<Vec<Update>> {
        let updates = match str_at(event, "subtype") {
            "init" => self.init(event),
            "status" => self.status(event),
            "compact_boundary" => vec![self.compacted(event)],
            "api_retry" => vec![retry(event)?],
            "retry" => {
                let error = event.get("data").map(|data| str_at(data, "reason")).unwrap_or_default();
                let retry = Retry {
                    error,
                    ..Retry::default()
                };
                vec![retry.update()]
            }
            "commands_changed" => self.commands(event).into_iter().collect(),
            "model_refusal_fallback" | "informational" | "permission_denied" => notice(event).into_iter().collect(),
            _ => return None,
        };
        (!updates.is_empty()).then_some(updates)
    }

    /// The turn is over, and so is a compaction that has no end.
    pub(super) fn finish(&mut self) -> Option<Update> {
        let status = CompactionStatus::Cancelled;
        std::mem::take(&mut self.is_compacting).then(|| session::compaction(&self.compaction_id(), status, ""))
    }

    fn init(&mut self, event: &Value) -> Vec<Update> {
        let mut updates: Vec<Update> = self.commands(event).into_iter().collect();
        // Qwen has the same under another name.
        let mode = [str_at(event, "permissionMode"), str_at(event, "permission_mode")];
        for mode in mode.into_iter().filter(|mode| !mode.is_empty()) {
            updates.extend(self.change_mode(mode));
        }
        let model = str_at(event, "model");
        if self.model != model {
            model.clone_into(&mut self.model);
            updates.extend(session::model(model));
        }
        updates
    }

    fn commands(&mut self, event: &Value) -> Option<Update> {
        let names = event.get("slash_commands").or_else(|| event.get("commands"))?;
        let name = |command: &Value| {
            command
                .as_str()
                .or_else(|| command.get("name")?.as_str())
                .map(str::to_owned)
        };
        let names: Vec<String> = names.as_array()?.iter().filter_map(name).collect();
        if names == self.commands {
            return None;
        }
        self.commands = names;
        session::commands(self.commands.iter().map(String::as_str))
    }

    fn change_mode(&mut self, mode: &str) -> Option<Update> {
        if self.mode == mode {
            return None;
        }
        mode.clone_into(&mut self.mode);
        session::mode(mode)
    }

    fn status(&mut self, event: &Value) -> Vec<Update> {
        let mut updates: Vec<Update> = self.change_mode_of(event).into_iter().collect();
        match (str_at(event, "status"), str_at(event, "compact_result")) {
            ("compacting", _) if !self.is_compacting => {
                self.is_compacting = true;
                self.compactions = self.compactions.saturating_add(1);
                updates.push(self.compaction(CompactionStatus::InProgress, ""));
            }
            (_, "failed") if self.is_compacting => {
                self.is_compacting = false;
                updates.push(self.compaction(CompactionStatus::Failed, str_at(event, "compact_error")));
            }
            _ => {}
        }
        updates
    }

    fn change_mode_of(&mut self, event: &Value) -> Option<Update> {
        let mode = str_at(event, "permissionMode");
        (!mode.is_empty()).then(|| self.change_mode(mode))?
    }

    /// A compaction is complete. It may have had no beginning.
    fn compacted(&mut self, event: &Value) -> Update {
        if !std::mem::take(&mut self.is_compacting) {
            self.compactions = self.compactions.saturating_add(1);
        }
        let update = self.compaction(CompactionStatus::Completed, "");
        match event.get("compact_metadata") {
            Some(facts) => update.with_meta("compaction", facts.clone()),
            None => update,
        }
    }

    fn compaction(&self, status: CompactionStatus, error: &str) -> Update {
        session::compaction(&self.compaction_id(), status, error)
    }

    fn compaction_id(&self) -> String {
        numbered(self.compactions)
    }
}

fn retry(event: &Value) -> Option<Update> {
    let number = |key: &str| event.get(key).and_then(Value::as_u64);
    let retry = Retry {
        attempt: number("attempt"),
        max_attempts: number("max_retries"),
        delay: number("retry_delay_ms"),
        status: number("error_status").and_then(|status| u16::try_from(status).ok()),
        error: checked_str_at(event, "error")?,
        // There was no response.
        is_network: event.get("error_status").is_some_and(Value::is_null),
    };
    Some(retry.update())
}

fn notice(event: &Value) -> Option<Update> {
    let text = ["content", "message", "text"].map(|key| str_at(event, key));
    session::warning(text.into_iter().find(|text| !text.is_empty())?)
}

/// A limit that is nearly used up, or is.
pub(super) fn rate_limit(event: &Value) -> Option<Update> {
    let info = event.get("rate_limit_info")?;
    let title = match str_at(info, "status") {
        "rejected" => "The limit of the account is used up.",
        "allowed_warning" => "The limit of the account is nearly used up.",
        _ => return None,
    };
    let notice = Update::notice(NoticeSeverity::Warning, title, str_at(info, "rateLimitType"));
    Some(notice.with_meta("rate_limit", info.clone()))
}
