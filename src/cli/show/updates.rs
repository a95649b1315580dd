//! Lines of the view, one by one.

use jiff::Timestamp;
use serde_json::Value;

use super::state::{Block, Show};
use super::style::Style;
use super::tools;
use crate::cli::terminal::{clip, first_line, one_line};
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
            Some("agent_message_chunk") if !tools::is_of_subagent(update) => {
                self.remember(update);
                self.message(Block::Text, &chunk(update));
            }
            Some("agent_message_chunk" | "agent_thought_chunk") if self.style.terminal || self.style.verbose => {
                self.remember(update);
                self.message(Block::Thought, &chunk(update));
            }
            Some("_message_superseded") => self.superseded(update),
            Some("notice") => self.agent_notice(update),
            Some("compaction_update") if self.style.terminal => {
                let status = update.get("status").and_then(Value::as_str).unwrap_or_default();
                self.notice(&format!(
                    "the agent shortens its context: {}",
                    one_line(status).replace('_', " ")
                ));
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

impl Show {
    /// Remembers that a message has been shown.
    fn remember(&mut self, update: &Value) {
        if let Some(id) = update.get("messageId").and_then(Value::as_str)
            && !self.shown.contains(id)
        {
            self.shown.insert(id.to_owned());
        }
    }

    /// What has been shown cannot be taken back. It is said that it is void.
    fn superseded(&mut self, update: &Value) {
        let id = update.get("messageId").and_then(Value::as_str).unwrap_or_default();
        if self.shown.remove(id) {
            self.enter(Block::Notice);
            self.notice("the agent asks the model again; what it said in its last attempt does not count");
        }
    }

    /// What the agent wants a person to know. Where only the answer is wanted, it is said why it takes so long.
    fn agent_notice(&mut self, update: &Value) {
        let text = |key: &str| update.get(key).and_then(Value::as_str).map(one_line);
        let is_retry = update.pointer("/_meta/retry").is_some();
        if !is_retry && !self.style.terminal && !self.style.verbose {
            return;
        }
        let words = [text("title"), text("description")];
        let words: Vec<String> = words.into_iter().flatten().collect();
        self.notice(&clip(&words.join(" "), MAX_NOTICE));
    }
}

/// Maximum columns of an agent's notice.
const MAX_NOTICE: usize = 300;

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
