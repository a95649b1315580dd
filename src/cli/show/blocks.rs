//! Blocks of text: the agent's messages as they arrive, and whole lines.

use serde_json::Value;

use super::state::{Block, Show};
use crate::cli::terminal::Paint;
use crate::cli::terminal::{clip, one_line};
use promptd_model::decode_output;
use promptd_model::{Output, Stream};

/// Maximum lines of a prompt.
const PROMPT_LINES: usize = 20;

impl Show {
    pub(super) fn prompt(&mut self, prompt: &str) {
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

    pub(super) fn plan(&mut self, update: &Value) {
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

    /// A line of output that has no update.
    pub(super) fn raw(&mut self, update: &Value) {
        let is_stderr = update.get("stream").and_then(Value::as_str) == Some("stderr");
        if !is_stderr && !self.is_setup && !self.style.verbose {
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

    /// A chunk of the agent's message or thoughts.
    pub(super) fn message(&mut self, block: Block, piece: &str) {
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

    pub(super) fn lines(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        self.enter(Block::Lines);
        let text = lines.iter().map(|line| format!("{line}\n")).collect();
        self.pieces.push((Stream::Stdout, text));
    }

    /// A line that is not part of the agent's message.
    pub(super) fn notice(&mut self, text: &str) {
        if self.style.terminal {
            self.enter(Block::Notice);
        }
        let line = format!("{}\n", self.style.on(Paint::Faint, text));
        self.pieces.push((Stream::Stderr, line));
    }

    /// Ends the last block if another one begins. On a terminal, messages have an empty line before and after them.
    pub(super) fn enter(&mut self, block: Block) {
        if block == self.block {
            return;
        }
        let mut text = String::new();
        self.cleaner.finish(&mut text);
        if std::mem::take(&mut self.open) || !text.is_empty() {
            text.push('\n');
        }
        let is_message = |block| matches!(block, Block::Text | Block::Thought);
        let both = block != Block::Nothing && self.block != Block::Nothing;
        if self.style.terminal && both && (is_message(block) || is_message(self.block)) {
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
