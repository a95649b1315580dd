//! Lines of the view, one by one.

use jiff::Timestamp;
use serde_json::Value;

use super::state::{Block, Show};
use super::style::Style;
use super::tools;
use crate::cli::terminal::first_line;
use promptd_model::{Permission, Stream, decode};

impl Show {
    /// Takes the next line of the view; returns what to write to which stream, in order.
    pub(crate) fn line(&mut self, line: &[u8]) -> Vec<(Stream, String)> {
        if let Some(record) = decode(line) {
            self.record(record.body);
        } else if let Ok(line) = serde_json::from_slice::<Value>(line)
            && let Some(update) = line.get("update")
        {
            let time = line
                .get("time")
                .and_then(Value::as_str)
                .and_then(|time| time.parse().ok());
            self.update(update, time.unwrap_or_default());
        }
        std::mem::take(&mut self.pieces)
    }

    /// Ends an open line.
    pub(crate) fn finish(&mut self) -> Vec<(Stream, String)> {
        self.enter(Block::Nothing);
        std::mem::take(&mut self.pieces)
    }

    /// The question that waits for an answer.
    pub(crate) fn question(&self) -> Option<&Permission> {
        self.questions.front()
    }

    /// What the agent does, for the activity line; `None` while a line or a question is open.
    pub(crate) fn activity(&self) -> Option<&str> {
        let room = !self.open && self.questions.is_empty();
        room.then(|| self.tools.running().unwrap_or("working"))
    }

    pub(crate) fn style(&self) -> &Style {
        &self.style
    }

    fn update(&mut self, update: &Value, time: Timestamp) {
        match update.get("sessionUpdate").and_then(Value::as_str) {
            Some("agent_message_chunk") if !tools::is_of_subagent(update) => self.message(Block::Text, &chunk(update)),
            Some("agent_message_chunk" | "agent_thought_chunk") if self.style.terminal || self.style.verbose => {
                self.message(Block::Thought, &chunk(update));
            }
            Some("user_message_chunk") if self.style.prompts => self.prompt(&chunk(update)),
            Some("tool_call" | "tool_call_update") => {
                if self.block != Block::Lines {
                    self.tools.interrupted();
                }
                let lines = self.tools.update(update, time, &self.style);
                self.lines(&lines);
            }
            Some("plan") => self.plan(update),
            Some("_raw") => self.raw(update),
            _ => {}
        }
    }
}

/// The text of a chunk, or the type of other content.
fn chunk(update: &Value) -> String {
    let Some(content) = update.get("content") else {
        return String::new();
    };
    let text = |key: &str| content.get(key).and_then(Value::as_str);
    match (text("text"), text("type")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(kind)) => format!("[{}]", first_line(kind)),
        (None, None) => String::new(),
    }
}
