//! What a person sees of a session: lines of `view=updates` in, text out.
//!
//! Owns the state between two lines (is a line open, which calls run, what is asked) and how each update looks. Promises
//! that nothing of an agent's reaches a terminal as a command, and that it makes no difference which lines come together.
//! Pure: times are those of the records; no clock, no I/O. May use `model` and the journal's codec.

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

pub(crate) use self::question::chosen;
pub(crate) use self::style::Style;
pub(crate) use self::summary::{hint, summary};
use self::tools::Tools;
use crate::cli::terminal::Paint;
use crate::cli::terminal::{Cleaner, first_line};
use promptd_model::decode;
use promptd_model::{Permission, Stream};

/// What is shown, line by line.
#[derive(Debug)]
pub(crate) struct Show {
    session: String,
    style: Style,
    tools: Tools,
    plan: Vec<String>,
    block: Block,
    cleaner: Cleaner,
    /// Something stands on the last line.
    open: bool,
    /// What is written now is a setup's.
    setup: bool,
    /// Not answered yet, oldest first.
    questions: VecDeque<Permission>,
    pieces: Vec<(Stream, String)>,
}

/// What was shown last.
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
            setup: false,
            questions: VecDeque::new(),
            pieces: Vec::new(),
        }
    }

    /// The next line of the view; answers what is to be written where, in this order.
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

    /// Ends what is open.
    pub(crate) fn finish(&mut self) -> Vec<(Stream, String)> {
        self.enter(Block::Nothing);
        std::mem::take(&mut self.pieces)
    }

    /// What waits for an answer.
    pub(crate) fn question(&self) -> Option<&Permission> {
        self.questions.front()
    }

    /// What the agent does, for a line that may be erased; `None` where there is no room for one.
    pub(crate) fn activity(&self) -> Option<&str> {
        let room = !self.open && self.questions.is_empty();
        room.then(|| self.tools.running().unwrap_or("working"))
    }

    pub(crate) fn style(&self) -> &Style {
        &self.style
    }

    fn update(&mut self, update: &Value, time: Timestamp) {
        match update.get("sessionUpdate").and_then(Value::as_str) {
            Some("agent_message_chunk") if !tools::is_of_subagent(update) => self.speech(Block::Text, &chunk(update)),
            Some("agent_message_chunk" | "agent_thought_chunk") if self.style.terminal || self.style.verbose => {
                self.speech(Block::Thought, &chunk(update));
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

/// The text of a chunk; what is no text is named.
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
