//! The stream in ACP's words.

use std::collections::HashMap;

use serde_json::Value;

use super::super::super::{Translator, Update};
use super::super::plan::Plans;
use super::super::tool::{self, string};
use super::{ResultLine, cursor};
use crate::model::Usage;

/// One attempt, as far as it was read.
#[derive(Default, Clone)]
pub(super) struct Updates {
    /// What the pieces of unfinished messages said, by the call that a subagent works for; empty for the agent itself.
    said: HashMap<String, Said>,
    /// The agent itself has said something.
    answered: bool,
    plans: Plans,
    /// The sum over all `result`s.
    usage: Usage,
}

#[derive(Default, Clone)]
struct Said {
    text: String,
    thoughts: String,
}

impl Translator for Updates {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        let parent = string(&event, "parent_tool_use_id");
        let updates = match string(&event, "type") {
            "stream_event" => self.piece(parent, event.get("event")?)?,
            "assistant" => self.message(parent, &event, line)?,
            "user" => self.results(parent, &event, line)?,
            "result" => return self.result(line),
            "tool_call" => cursor::tool_call(&event)?,
            "thinking" => cursor::thinking(&event)?,
            _ => return None,
        };
        if parent.is_empty() {
            return Some(updates);
        }
        let of_subagent = |update: Update| update.with_meta("parent_tool_use_id", parent.into());
        Some(updates.into_iter().map(of_subagent).collect())
    }
}

impl Updates {
    /// An event of the model's own stream. What frames the pieces is said by the lines that follow: a call has its
    /// whole input in the `assistant` line, what was used and why it stopped are in the `result`.
    fn piece(&mut self, parent: &str, event: &Value) -> Option<Vec<Update>> {
        match string(event, "type") {
            "message_start" => {
                self.said.remove(parent);
                Some(Vec::new())
            }
            "content_block_start" => {
                let block = event.get("content_block")?;
                let known = matches!(string(block, "type"), "text" | "thinking" | "tool_use");
                known.then(Vec::new)
            }
            "content_block_delta" => self.delta(parent, event.get("delta")?),
            "content_block_stop" | "message_delta" => Some(Vec::new()),
            // It can tell that what was said does not count.
            "message_stop" if event.get("abandoned_blocks").is_none() => Some(Vec::new()),
            _ => None,
        }
    }

    fn delta(&mut self, parent: &str, delta: &Value) -> Option<Vec<Update>> {
        let said = self.said.entry(parent.to_owned()).or_default();
        let (text, said, update): (&str, _, fn(&str) -> Update) = match string(delta, "type") {
            "text_delta" => (string(delta, "text"), &mut said.text, |text| Update::message(text)),
            "thinking_delta" => (string(delta, "thinking"), &mut said.thoughts, |text| {
                Update::thought(text)
            }),
            "input_json_delta" | "signature_delta" => return Some(Vec::new()),
            _ => return None,
        };
        if text.is_empty() {
            return Some(Vec::new());
        }
        said.push_str(text);
        self.answered |= parent.is_empty();
        Some(vec![update(text)])
    }

    /// A message of the model, or one block of it.
    fn message(&mut self, parent: &str, event: &Value, line: &[u8]) -> Option<Vec<Update>> {
        let blocks = event.pointer("/message/content")?.as_array()?;
        let mut updates = Vec::new();
        let mut all_known = true;
        let said = self.said.entry(parent.to_owned()).or_default();
        for block in blocks {
            match string(block, "type") {
                "text" => {
                    self.answered |= parent.is_empty();
                    updates.extend(unsaid(&mut said.text, string(block, "text")).map(Update::message));
                }
                "thinking" => {
                    updates.extend(unsaid(&mut said.thoughts, string(block, "thinking")).map(Update::thought));
                }
                "tool_use" => {
                    let (id, name) = (string(block, "id"), string(block, "name"));
                    let input = block.get("input").cloned().unwrap_or_default();
                    if parent.is_empty() {
                        self.plans.called(id, name, &input);
                    }
                    updates.push(tool::started(id, name, input));
                }
                _ => all_known = false,
            }
        }
        Some(told(updates, all_known, line))
    }

    /// What goes to the model: the results of its calls, a subagent's prompt, remarks.
    fn results(&mut self, parent: &str, event: &Value, line: &[u8]) -> Option<Vec<Update>> {
        let content = event.pointer("/message/content")?;
        if let Some(text) = content.as_str() {
            return Some(self.remark(parent, text));
        }
        let blocks = content.as_array()?;
        // The result as data stands beside the message, and has no id: it is of the only call.
        let data = event.get("tool_use_result").filter(|_| blocks.len() == 1);
        let mut updates = Vec::new();
        let mut all_known = true;
        for block in blocks {
            match string(block, "type") {
                "text" => updates.extend(self.remark(parent, string(block, "text"))),
                "tool_result" => {
                    let id = string(block, "tool_use_id");
                    let succeeded = block.get("is_error").and_then(Value::as_bool) != Some(true);
                    let output = tool::text(block.get("content").unwrap_or(&Value::Null));
                    updates.push(tool::ended_with(id, succeeded, &output, data.cloned()));
                    updates.extend(self.plans.ended(id, succeeded, data.unwrap_or(&Value::Null)));
                }
                _ => all_known = false,
            }
        }
        Some(told(updates, all_known, line))
    }

    /// Before the agent has said anything, a text is the prompt again, as Amp and Cursor write it: that one is said
    /// by the turn's own `prompt` record.
    fn remark(&self, parent: &str, text: &str) -> Vec<Update> {
        if parent.is_empty() && !self.answered {
            return Vec::new();
        }
        vec![Update::prompt(text)]
    }

    fn result(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let result: ResultLine<'_> = serde_json::from_slice(line).ok()?;
        let mut updates = Vec::new();
        // What a command of Claude's own (`/cost`) answers stands here alone.
        if let (Some(text), false, false) = (&result.result, self.answered, result.is_error)
            && !text.is_empty()
        {
            updates.push(Update::message(&**text));
        }
        self.usage = self.usage.plus(result.usage());
        if self.usage != Usage::default() {
            updates.push(Update::usage(&self.usage, result.context_window()));
        }
        Some(told(updates, !result.is_error, line))
    }
}

/// The line as it is stands behind the updates that do not say all of it.
fn told(mut updates: Vec<Update>, all: bool, line: &[u8]) -> Vec<Update> {
    if !all {
        updates.push(Update::raw(line));
    }
    updates
}

/// What of a text its pieces have not said; it is said then.
fn unsaid<'a>(said: &mut String, text: &'a str) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix(said.as_str()) {
        said.clear();
        return Some(rest).filter(|rest| !rest.is_empty());
    }
    // Several blocks in one message: the pieces were of them all.
    if said.starts_with(text) {
        said.drain(..text.len());
        return None;
    }
    said.clear();
    Some(text)
}
