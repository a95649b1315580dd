//! The stream in ACP's words.

use std::collections::HashMap;

use serde_json::Value;

use super::super::super::{Translator, Update};
use super::super::plan::Plans;
use super::super::tool::{self, string, text_at};
use super::{ResultLine, cursor};
use promptd_model::Usage;

/// One attempt, as far as it was read.
#[derive(Default, Clone)]
pub(crate) struct Updates {
    /// What the pieces of unfinished messages said, by the call that a subagent works for; empty for the agent itself.
    said: HashMap<String, Said>,
    /// The agent itself has said something.
    answered: bool,
    /// The agent itself has called a tool.
    called: bool,
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
        let parent = text_at(&event, "parent_tool_use_id")?;
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
            "text_delta" => (text_at(delta, "text")?, &mut said.text, |text| Update::message(text)),
            "thinking_delta" => (text_at(delta, "thinking")?, &mut said.thoughts, |text| {
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
        let known: Vec<_> = blocks.iter().map(|block| self.block(parent, block)).collect();
        let all_known = known.iter().all(Option::is_some);
        Some(told(known.into_iter().flatten().flatten().collect(), all_known, line))
    }

    /// What one block of a message says that its pieces have not; `None` where it is not known.
    fn block(&mut self, parent: &str, block: &Value) -> Option<Vec<Update>> {
        let said = self.said.entry(parent.to_owned()).or_default();
        let update = match string(block, "type") {
            "text" => {
                let text = text_at(block, "text")?;
                self.answered |= parent.is_empty();
                unsaid(&mut said.text, text).map(Update::message)
            }
            "thinking" => unsaid(&mut said.thoughts, text_at(block, "thinking")?).map(Update::thought),
            "tool_use" => {
                let (id, name) = (text_at(block, "id")?, text_at(block, "name")?);
                let input = block.get("input").cloned().unwrap_or_default();
                if parent.is_empty() {
                    self.called = true;
                    self.plans.called(id, name, &input);
                }
                Some(tool::started(id, name, input))
            }
            _ => return None,
        };
        Some(update.into_iter().collect())
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
        let known: Vec<_> = blocks.iter().map(|block| self.result_of(parent, block, data)).collect();
        let all_known = known.iter().all(Option::is_some);
        Some(told(known.into_iter().flatten().flatten().collect(), all_known, line))
    }

    fn result_of(&mut self, parent: &str, block: &Value, data: Option<&Value>) -> Option<Vec<Update>> {
        match string(block, "type") {
            "text" => Some(self.remark(parent, text_at(block, "text")?)),
            "tool_result" => {
                let id = text_at(block, "tool_use_id")?;
                let succeeded = block.get("is_error").and_then(Value::as_bool) != Some(true);
                let output = tool::text(block.get("content").unwrap_or(&Value::Null));
                let mut updates = vec![tool::ended_with(id, succeeded, &output, data.cloned())];
                updates.extend(self.plans.ended(id, succeeded, data.unwrap_or(&Value::Null)));
                Some(updates)
            }
            _ => None,
        }
    }

    /// Before the agent has said or done anything, a text is the prompt again, as Amp and Cursor write it: that one is said
    /// by the turn's own `prompt` record.
    fn remark(&self, parent: &str, text: &str) -> Vec<Update> {
        if parent.is_empty() && !self.answered && !self.called {
            return Vec::new();
        }
        vec![Update::prompt(text)]
    }

    fn result(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let result: ResultLine<'_> = serde_json::from_slice(line).ok()?;
        let mut updates = Vec::new();
        // What a command of Claude's own (`/cost`) answers stands here alone.
        if let (Some(text), false, false) = (&result.result, self.answered, result.is_failure())
            && !text.is_empty()
        {
            updates.push(Update::message(&**text));
        }
        self.usage = self.usage.plus(result.usage());
        if self.usage != Usage::default() {
            updates.push(Update::usage(&self.usage, result.context_window()));
        }
        Some(told(updates, !result.is_failure(), line))
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
