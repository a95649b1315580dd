//! The text of a session for a person: lines of `view=updates` in, text out.
//!
//! Owns the state between two lines (open line, running tool calls, open questions) and the look of each update. Promises
//! that no text of an agent controls the terminal, and that the result does not depend on how lines are grouped. Pure: times
//! are those of the records; no clock, no I/O.

mod blocks;
mod question;
mod records;
mod style;
mod summary;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value;

pub(crate) use self::question::option_of_key;
pub(crate) use self::style::Style;
pub(crate) use self::summary::{hint, summary};
use self::tools::Tools;
use crate::cli::terminal::Paint;
use crate::cli::terminal::{Cleaner, first_line};
use promptd_model::decode;
use promptd_model::{Permission, Stream};

/// Turns lines of the view into text.
#[derive(Debug)]
pub(crate) struct Show {
    session: String,
    style: Style,
    tools: Tools,
    plan: Vec<String>,
    block: Block,
    cleaner: Cleaner,
    /// The last line has not ended.
    open: bool,
    /// The output comes from a setup command.
    is_setup: bool,
    /// Not yet answered, oldest first.
    questions: VecDeque<Permission>,
    pieces: Vec<(Stream, String)>,
}

/// The kind of the last output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Nothing,
    Text,
    Thought,
    Lines,
    Notice,
}

impl Show {
    pub(crate) fn new(session: &str, style: Style) -> Self {
        Self {
            session: session.to_owned(),
            style,
            tools: Tools::default(),
            plan: Vec::new(),
            block: Block::Nothing,
            cleaner: Cleaner::default(),
            open: false,
            is_setup: false,
            questions: VecDeque::new(),
            pieces: Vec::new(),
        }
    }

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
