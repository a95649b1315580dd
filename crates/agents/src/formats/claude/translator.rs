//! Turns the stream into ACP updates.

use std::collections::HashMap;

use serde_json::Value;

use super::wire::ResultLine;
use crate::output::chunks::take_new;
use crate::output::plan::Plans;
use crate::output::tool::{self, checked_str_at, str_at};
use crate::output::update::{Translator, Update};
use promptd_model::Usage;

/// One attempt up to the line that was read last.
#[derive(Default, Clone)]
pub(crate) struct ClaudeTranslator {
    /// The chunks of the unfinished messages. The key is the call that started the subagent; empty for the agent itself.
    chunks: HashMap<String, Chunks>,
    /// The agent itself has written text.
    answered: bool,
    /// The agent itself has called a tool.
    called: bool,
    plans: Plans,
    /// The sum over all `result`s.
    usage: Usage,
}

#[derive(Default, Clone)]
struct Chunks {
    text: String,
    thoughts: String,
}

impl Translator for ClaudeTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        let parent = checked_str_at(&event, "parent_tool_use_id")?;
        let updates = match str_at(&event, "type") {
            "stream_event" => self.translate_event(parent, event.get("event")?)?,
            "assistant" => self.translate_message(parent, &event, line)?,
            "user" => self.translate_user(parent, &event, line)?,
            "result" => return self.translate_result(line),
            _ => return None,
        };
        if parent.is_empty() {
            return Some(updates);
        }
        let of_subagent = |update: Update| update.with_meta("parent_tool_use_id", parent.into());
        Some(updates.into_iter().map(of_subagent).collect())
    }
}

impl ClaudeTranslator {
    /// An event of the model's own stream. Only its chunks are translated; the lines that follow have the rest. A call has
    /// its complete input in the `assistant` line. The usage and the stop reason are in the `result`.
    fn translate_event(&mut self, parent: &str, event: &Value) -> Option<Vec<Update>> {
        match str_at(event, "type") {
            "message_start" => {
                self.chunks.remove(parent);
                Some(Vec::new())
            }
            "content_block_start" => {
                let block = event.get("content_block")?;
                let known = matches!(str_at(block, "type"), "text" | "thinking" | "tool_use");
                known.then(Vec::new)
            }
            "content_block_delta" => self.translate_delta(parent, event.get("delta")?),
            "content_block_stop" | "message_delta" => Some(Vec::new()),
            // With `abandoned_blocks`, the text so far is void.
            "message_stop" if event.get("abandoned_blocks").is_none() => Some(Vec::new()),
            _ => None,
        }
    }

    fn translate_delta(&mut self, parent: &str, delta: &Value) -> Option<Vec<Update>> {
        let chunks = self.chunks.entry(parent.to_owned()).or_default();
        let (text, sent, update): (&str, _, fn(&str) -> Update) = match str_at(delta, "type") {
            "text_delta" => (checked_str_at(delta, "text")?, &mut chunks.text, |text| {
                Update::message(text)
            }),
            "thinking_delta" => (checked_str_at(delta, "thinking")?, &mut chunks.thoughts, |text| {
                Update::thought(text)
            }),
            "input_json_delta" | "signature_delta" => return Some(Vec::new()),
            _ => return None,
        };
        if text.is_empty() {
            return Some(Vec::new());
        }
        sent.push_str(text);
        self.answered |= parent.is_empty();
        Some(vec![update(text)])
    }

    /// A message of the model, or one block of it.
    fn translate_message(&mut self, parent: &str, event: &Value, line: &[u8]) -> Option<Vec<Update>> {
        let blocks = event.pointer("/message/content")?.as_array()?;
        let known: Vec<_> = blocks.iter().map(|block| self.translate_block(parent, block)).collect();
        let all_known = known.iter().all(Option::is_some);
        Some(with_raw_unless(
            known.into_iter().flatten().flatten().collect(),
            all_known,
            line,
        ))
    }

    /// What a block of a message adds to its chunks; `None` if the block is not known.
    fn translate_block(&mut self, parent: &str, block: &Value) -> Option<Vec<Update>> {
        let chunks = self.chunks.entry(parent.to_owned()).or_default();
        let update = match str_at(block, "type") {
            "text" => {
                let text = checked_str_at(block, "text")?;
                self.answered |= parent.is_empty();
                take_new(&mut chunks.text, text).map(Update::message)
            }
            "thinking" => take_new(&mut chunks.thoughts, checked_str_at(block, "thinking")?).map(Update::thought),
            "tool_use" => {
                let (id, name) = (checked_str_at(block, "id")?, checked_str_at(block, "name")?);
                let input = block.get("input").cloned().unwrap_or_default();
                if parent.is_empty() {
                    self.called = true;
                    self.plans.start_call(id, name, &input);
                }
                Some(tool::started(id, name, input))
            }
            _ => return None,
        };
        Some(update.into_iter().collect())
    }

    /// What goes to the model: the results of its calls, a subagent's prompt, other texts.
    fn translate_user(&mut self, parent: &str, event: &Value, line: &[u8]) -> Option<Vec<Update>> {
        let content = event.pointer("/message/content")?;
        if let Some(text) = content.as_str() {
            return Some(self.translate_user_text(parent, text));
        }
        let blocks = content.as_array()?;
        // The result as data is next to the message and has no id: it belongs to the only call.
        let data = event.get("tool_use_result").filter(|_| blocks.len() == 1);
        let known: Vec<_> = blocks
            .iter()
            .map(|block| self.translate_user_block(parent, block, data))
            .collect();
        let all_known = known.iter().all(Option::is_some);
        Some(with_raw_unless(
            known.into_iter().flatten().flatten().collect(),
            all_known,
            line,
        ))
    }

    fn translate_user_block(&mut self, parent: &str, block: &Value, data: Option<&Value>) -> Option<Vec<Update>> {
        match str_at(block, "type") {
            "text" => Some(self.translate_user_text(parent, checked_str_at(block, "text")?)),
            "tool_result" => {
                let id = checked_str_at(block, "tool_use_id")?;
                let succeeded = block.get("is_error").and_then(Value::as_bool) != Some(true);
                let output = tool::output_text(block.get("content").unwrap_or(&Value::Null));
                let mut updates = vec![tool::finished_with(id, succeeded, &output, data.cloned())];
                updates.extend(self.plans.finish_call(id, succeeded, data.unwrap_or(&Value::Null)));
                Some(updates)
            }
            _ => None,
        }
    }

    /// Before the agent has written text or called a tool, a text is the prompt again, which some programs write. The
    /// turn's own `prompt` record has it.
    fn translate_user_text(&self, parent: &str, text: &str) -> Vec<Update> {
        if parent.is_empty() && !self.answered && !self.called {
            return Vec::new();
        }
        vec![Update::prompt(text)]
    }

    fn translate_result(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let result: ResultLine<'_> = serde_json::from_slice(line).ok()?;
        let mut updates = Vec::new();
        // The answer of a claude command (`/cost`) is only here.
        if let (Some(text), false, false) = (&result.result, self.answered, result.is_failure())
            && !text.is_empty()
        {
            updates.push(Update::message(&**text));
        }
        self.usage = self.usage.plus(result.usage());
        if self.usage != Usage::default() {
            updates.push(Update::usage(&self.usage, result.context_window()));
        }
        Some(with_raw_unless(updates, !result.is_failure(), line))
    }
}

/// Adds the line as it is if the updates do not have all of its content.
fn with_raw_unless(mut updates: Vec<Update>, all_known: bool, line: &[u8]) -> Vec<Update> {
    if !all_known {
        updates.push(Update::raw(line));
    }
    updates
}
