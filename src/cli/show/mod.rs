//! What a person sees of a session: lines of `view=updates` in, text out.
//!
//! Owns the state between two lines (is a line open, which calls run, what is asked) and how each update looks. Promises
//! that nothing of an agent's reaches a terminal as a command, and that it makes no difference which lines come together.
//! Pure: times are those of the records; no clock, no I/O. May use `model` and the journal's codec.

mod question;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod tools;

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value;

pub(super) use self::question::chosen;
pub(super) use self::summary::{hint, summary};
use self::text::{Cleaner, clip, first_line, one_line};
use self::tools::Tools;
use super::table::Paint;
use crate::journal::{decode, decode_output};
use crate::model::{Body, Output, Permission, Stream};

/// The most lines of a prompt that are shown.
const PROMPT_LINES: usize = 20;

/// How it is to look.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent choice of the user"
)]
pub(super) struct Style {
    /// With escape codes for colours.
    pub(super) colours: bool,
    /// For a terminal: what it would obey is made visible, and thoughts are shown.
    pub(super) terminal: bool,
    /// Characters in a line.
    pub(super) width: usize,
    /// With all that the agent writes.
    pub(super) verbose: bool,
    /// With the prompts.
    pub(super) prompts: bool,
    /// Somebody can answer a question with a key.
    pub(super) keys: bool,
}

impl Style {
    /// Nothing but text.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self {
            colours: false,
            terminal: false,
            width: 80,
            verbose: false,
            prompts: false,
            keys: false,
        }
    }

    /// The text in a colour, where there are colours.
    fn on(&self, paint: Paint, text: &str) -> String {
        on(self.colours, paint, text)
    }
}

fn on(colours: bool, paint: Paint, text: &str) -> String {
    if colours { paint.on(text) } else { text.to_owned() }
}

/// What is shown, line by line.
#[derive(Debug)]
pub(super) struct Show {
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
    pub(super) fn new(session: &str, style: Style) -> Self {
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
    pub(super) fn line(&mut self, line: &[u8]) -> Vec<(Stream, String)> {
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
    pub(super) fn finish(&mut self) -> Vec<(Stream, String)> {
        self.enter(Block::Nothing);
        std::mem::take(&mut self.pieces)
    }

    /// What waits for an answer.
    pub(super) fn question(&self) -> Option<&Permission> {
        self.questions.front()
    }

    /// What the agent does, for a line that may be erased; `None` where there is no room for one.
    pub(super) fn activity(&self) -> Option<&str> {
        let room = !self.open && self.questions.is_empty();
        room.then(|| self.tools.running().unwrap_or("working"))
    }

    pub(super) fn style(&self) -> &Style {
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

    fn record(&mut self, body: Body) {
        match body {
            Body::Setup(setup) => {
                self.setup = true;
                let text = format!("setup {} of {}: {}", setup.step, setup.of, one_line(&setup.command));
                self.notice(&clip(&text, self.style.width));
            }
            Body::Started(_) => self.setup = false,
            Body::Retry { attempt, delay, cause } => {
                self.over();
                let cause = serde_json::to_value(cause).unwrap_or_default();
                let cause = cause.as_str().unwrap_or_default();
                self.notice(&format!("failed ({cause}); attempt {attempt} begins in {delay} s"));
            }
            Body::Frozen { reason } => self.notice(&format!("frozen: {}", one_line(&reason))),
            Body::Thawed { reason } => self.notice(&format!("goes on: {}", one_line(&reason))),
            Body::Gap(gap) => self.notice(&format!(
                "{} bytes of {} are missing: {}",
                gap.bytes,
                one_line(&gap.stream),
                one_line(&gap.reason)
            )),
            Body::Resumed { away, .. } => self.notice(&format!("the sandbox was away for {}", text::seconds(away))),
            Body::Permission(question) => self.ask(question),
            Body::PermissionAnswer(answer) => {
                let first = self.questions.front().is_some_and(|question| question.id == answer.id);
                self.questions.retain(|question| question.id != answer.id);
                let by = if answer.by == "caller" {
                    String::new()
                } else {
                    format!(" (by {})", one_line(&answer.by))
                };
                self.lines(&[format!("  → {}{}", one_line(&answer.option), by)]);
                if let Some(next) = self.questions.front().filter(|_| first && self.style.keys) {
                    let lines = question::put(next, &self.style);
                    self.lines(&lines);
                }
            }
            Body::Exited(_) => self.over(),
            Body::TurnEnded(_) => {
                self.over();
                self.enter(Block::Nothing);
            }
            _ => {}
        }
    }

    /// Nothing runs and nothing is asked any more.
    fn over(&mut self) {
        self.questions.clear();
        self.tools.clear();
        self.plan.clear();
    }

    fn ask(&mut self, question: Permission) {
        if !self.style.keys {
            let text = question::tell(&question, &self.session);
            self.notice(&text);
        } else if self.questions.is_empty() {
            let lines = question::put(&question, &self.style);
            self.lines(&lines);
        }
        self.questions.push_back(question);
    }

    fn prompt(&mut self, prompt: &str) {
        let mut lines: Vec<String> = prompt
            .lines()
            .take(PROMPT_LINES)
            .map(|line| self.style.on(Paint::Strong, &format!("> {}", one_line(line))))
            .collect();
        let more = prompt.lines().count().saturating_sub(PROMPT_LINES);
        if more > 0 {
            lines.push(self.style.on(Paint::Faint, &format!("> … {more} more lines")));
        }
        self.lines(&lines);
    }

    fn plan(&mut self, update: &Value) {
        let entries = update.get("entries").and_then(Value::as_array);
        let lines: Vec<String> = entries
            .into_iter()
            .flatten()
            .map(|entry| {
                let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
                let content = clip(&one_line(text("content")), self.style.width.saturating_sub(4));
                match text("status") {
                    "completed" => self.style.on(Paint::Faint, &format!("  ✓ {content}")),
                    "in_progress" => self.style.on(Paint::Strong, &format!("  ▸ {content}")),
                    _ => format!("  ☐ {content}"),
                }
            })
            .collect();
        if lines != self.plan {
            self.lines(&lines);
            self.plan = lines;
        }
    }

    /// A line as the agent wrote it.
    fn raw(&mut self, update: &Value) {
        let is_stderr = update.get("stream").and_then(Value::as_str) == Some("stderr");
        if !is_stderr && !self.setup && !self.style.verbose {
            return;
        }
        let eol = update.get("eol").and_then(Value::as_bool).unwrap_or(true);
        let text = |key: &str| update.get(key).and_then(Value::as_str).map(str::to_owned);
        let output = Output {
            eol: false,
            data: text("line"),
            base64: text("base64"),
            ..Output::default()
        };
        let mut bytes = Vec::new();
        decode_output(&output, &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        if self.style.terminal {
            self.notice(&one_line(&text));
        } else {
            let end = if eol { "\n" } else { "" };
            self.pieces.push((Stream::Stderr, format!("{text}{end}")));
        }
    }

    /// A piece of the agent's answer or thoughts.
    fn speech(&mut self, block: Block, piece: &str) {
        self.enter(block);
        let mut text = String::new();
        if self.style.terminal {
            self.cleaner.push(piece, &mut text);
        } else {
            text.push_str(piece);
        }
        if let Some(last) = text.chars().last() {
            self.open = last != '\n';
            let text = if block == Block::Thought {
                self.style.on(Paint::Faint, &text)
            } else {
                text
            };
            self.pieces.push((Stream::Stdout, text));
        }
    }

    fn lines(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        self.enter(Block::Lines);
        let text = lines.iter().map(|line| format!("{line}\n")).collect();
        self.pieces.push((Stream::Stdout, text));
    }

    /// Something that is not the agent's answer.
    fn notice(&mut self, text: &str) {
        if self.style.terminal {
            self.enter(Block::Notice);
        }
        let line = format!("{}\n", self.style.on(Paint::Faint, text));
        self.pieces.push((Stream::Stderr, line));
    }

    /// Ends what is open where something else begins. Speech has a line of air around it, where a person reads it.
    fn enter(&mut self, block: Block) {
        if block == self.block {
            return;
        }
        let mut text = String::new();
        self.cleaner.finish(&mut text);
        if std::mem::take(&mut self.open) || !text.is_empty() {
            text.push('\n');
        }
        let airy = |block| matches!(block, Block::Text | Block::Thought);
        let both = block != Block::Nothing && self.block != Block::Nothing;
        if self.style.terminal && both && (airy(block) || airy(self.block)) {
            text.push('\n');
        }
        if !text.is_empty() {
            self.pieces.push((Stream::Stdout, text));
        }
        if block != Block::Lines {
            self.tools.interrupted();
        }
        self.block = block;
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
