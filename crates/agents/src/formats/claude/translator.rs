//! Turns the stream into ACP updates.

use serde_json::Value;

use super::messages::{Kind, Messages, Void};
use super::synthetic;
use super::system;
use super::wire::{Counts, ResultLine};
use crate::output::plan::Plans;
use crate::output::tools::calls::{Calls, End};
use crate::output::tools::edit::{Change, push_line};
use crate::output::tools::tool::{self, checked_str_at, str_at};
use crate::output::update::{Translator, Update};
use crate::output::usage::{Context, UsageReport};
use promptd_model::Usage;

/// One attempt up to the line that was read last.
#[derive(Default, Clone)]
pub(crate) struct ClaudeTranslator {
    messages: Messages,
    calls: Calls,
    /// The agent itself has written text.
    answered: bool,
    /// The agent itself has called a tool.
    called: bool,
    plans: Plans,
    /// The sum over all `result`s.
    usage: Usage,
    /// The last request of the agent itself.
    request: Option<Counts>,
    /// What the system lines have said.
    system: system::State,
}

impl Translator for ClaudeTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event: Value = serde_json::from_slice(line).ok()?;
        let parent = checked_str_at(&event, "parent_tool_use_id")?;
        let updates = match str_at(&event, "type") {
            "stream_event" => self.translate_event(parent, &event)?,
            "assistant" => self.translate_message(parent, &event, line)?,
            "user" => self.translate_user(parent, &event, line)?,
            "result" => return self.translate_result(line),
            "system" => return self.translate_system(&event, line),
            "rate_limit_event" => {
                let notice = system::rate_limit(&event)?;
                return Some(vec![notice, Update::raw(line)]);
            }
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
    /// An event of the model's own stream. Chunks of text are translated, and the beginning of a call; the lines that
    /// follow have the rest. A call has its complete input in the `assistant` line. The turn's usage and its stop reason
    /// are in the `result`.
    fn translate_event(&mut self, parent: &str, line: &Value) -> Option<Vec<Update>> {
        let event = line.get("event")?;
        match str_at(event, "type") {
            "message_start" => {
                let message = event.get("message").unwrap_or(&Value::Null);
                self.messages.start(parent, str_at(message, "id"));
                self.count(parent, message);
                Some(Vec::new())
            }
            "content_block_start" => self.start_block(parent, event),
            "content_block_delta" => self.translate_delta(parent, event.get("delta")?),
            "content_block_stop" => Some(Vec::new()),
            "message_delta" => {
                self.count(parent, event);
                Some(Vec::new())
            }
            "message_stop" => match line.get("abandoned_blocks").or_else(|| event.get("abandoned_blocks")) {
                None | Some(Value::Null) => Some(Vec::new()),
                Some(abandoned) => Some(self.abandon(parent, abandoned)),
            },
            _ => None,
        }
    }

    fn start_block(&mut self, parent: &str, event: &Value) -> Option<Vec<Update>> {
        let block = event.get("content_block")?;
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match str_at(block, "type") {
            "text" => self.messages.start_text(parent, index, Kind::Message),
            "thinking" => self.messages.start_text(parent, index, Kind::Thought),
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                let (id, name) = (checked_str_at(block, "id")?, checked_str_at(block, "name")?);
                self.messages.start_call(parent, index, id);
                return Some(vec![self.calls.announce(id, name)]);
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    fn translate_delta(&mut self, parent: &str, delta: &Value) -> Option<Vec<Update>> {
        let (text, kind) = match str_at(delta, "type") {
            "text_delta" => (checked_str_at(delta, "text")?, Kind::Message),
            "thinking_delta" => (checked_str_at(delta, "thinking")?, Kind::Thought),
            "input_json_delta" | "signature_delta" => return Some(Vec::new()),
            _ => return None,
        };
        if text.is_empty() {
            return Some(Vec::new());
        }
        self.answered |= parent.is_empty();
        Some(vec![self.messages.push_chunk(parent, kind, text)])
    }

    /// The response of the model was cut short. What it said in these blocks is void: claude asks again, or the turn ends.
    fn abandon(&mut self, parent: &str, abandoned: &Value) -> Vec<Update> {
        let from = abandoned.get("from_block_index").and_then(Value::as_u64).unwrap_or(0);
        let void = self.messages.abandon(parent, from);
        self.take_back(&void)
    }

    fn take_back(&mut self, void: &Void) -> Vec<Update> {
        let messages = void.messages.iter().cloned();
        let mut updates: Vec<Update> = messages.map(|message_id| Update::Superseded { message_id }).collect();
        updates.extend(void.calls.iter().filter_map(|id| self.calls.abandon(id)));
        updates
    }

    /// The tokens of a request, as far as they are known.
    fn count(&mut self, parent: &str, of: &Value) {
        let counts = of.get("usage").and_then(Counts::of).filter(|_| parent.is_empty());
        if let Some(counts) = counts {
            let before = self.request.filter(|_| str_at(of, "type") == "message_delta");
            self.request = Some(counts.or(before));
        }
    }

    /// A message of the model, or one block of it.
    fn translate_message(&mut self, parent: &str, event: &Value, line: &[u8]) -> Option<Vec<Update>> {
        let message = event.get("message")?;
        let blocks = message.get("content")?.as_array()?;
        self.messages.complete(parent, str_at(message, "id"));
        if str_at(message, "model") != "<synthetic>" {
            let known = self.request.take();
            self.count(parent, message);
            // With chunks, the last event of the request before it may know more.
            self.request = match (known, self.request) {
                (Some(known), Some(new)) if known.is_more_than(&new) => Some(known),
                (known, new) => new.or(known),
            };
        }
        let known: Vec<_> = blocks.iter().map(|block| self.translate_block(parent, block)).collect();
        let all_known = known.iter().all(Option::is_some) && checked_str_at(message, "id").is_some();
        Some(with_raw_unless(
            known.into_iter().flatten().flatten().collect(),
            all_known,
            line,
        ))
    }

    /// What a block of a message adds to its chunks; `None` if the block is not known.
    fn translate_block(&mut self, parent: &str, block: &Value) -> Option<Vec<Update>> {
        let kind = str_at(block, "type");
        let update = match kind {
            "text" => {
                let text = checked_str_at(block, "text")?;
                self.answered |= parent.is_empty();
                self.messages.push_complete(parent, Kind::Message, text)
            }
            "thinking" => {
                let text = checked_str_at(block, "thinking")?;
                self.messages.push_complete(parent, Kind::Thought, text)
            }
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                let (id, name) = (checked_str_at(block, "id")?, checked_str_at(block, "name")?);
                let input = block.get("input").cloned().unwrap_or_default();
                if parent.is_empty() {
                    self.called = true;
                    self.plans.start_call(id, name, &input);
                }
                self.calls.start(id, name, input)
            }
            // Of a tool that the model's own server has run.
            _ if kind.ends_with("_tool_result") => {
                let id = checked_str_at(block, "tool_use_id")?;
                let content = block.get("content").unwrap_or(&Value::Null);
                let succeeded = !str_at(content, "type").ends_with("_error");
                Some(self.calls.finish(id, End::with_output(succeeded, content)))
            }
            _ => return None,
        };
        Some(update.into_iter().collect())
    }

    /// What goes to the model: the results of its calls, a subagent's prompt, other texts.
    fn translate_user(&mut self, parent: &str, event: &Value, line: &[u8]) -> Option<Vec<Update>> {
        let content = event.pointer("/message/content")?;
        let is_synthetic = |text: &str| synthetic::is_marked(event) || synthetic::is_known(text);
        let text = Value::String(content.as_str().unwrap_or_default().to_owned());
        let alone = [serde_json::json!({ "type": "text", "text": text })];
        let blocks = match content {
            Value::String(_) => &alone[..],
            _ => content.as_array()?,
        };
        // The result as data is next to the message and has no id: it belongs to the only call.
        let data = event.get("tool_use_result").filter(|_| blocks.len() == 1);
        let mut updates = Vec::new();
        let mut all_known = true;
        for block in blocks {
            let known = match str_at(block, "type") {
                "text" if checked_str_at(block, "text").is_some_and(is_synthetic) => {
                    // The agent has written it for the model. It is not the user's, and no answer either.
                    all_known = false;
                    Some(self.translate_synthetic(parent, str_at(block, "text")))
                }
                "text" => checked_str_at(block, "text").map(|text| self.translate_user_text(parent, text)),
                "tool_result" => self.finish_call(block, data),
                _ => None,
            };
            all_known &= known.is_some();
            updates.extend(known.into_iter().flatten());
        }
        Some(with_raw_unless(updates, all_known, line))
    }

    fn finish_call(&mut self, block: &Value, data: Option<&Value>) -> Option<Vec<Update>> {
        let id = checked_str_at(block, "tool_use_id")?;
        let succeeded = block.get("is_error").and_then(Value::as_bool) != Some(true);
        let content = tool::output_content(block.get("content").unwrap_or(&Value::Null));
        // The data repeats an image.
        let raw = data.filter(|_| !tool::has_image(&content)).cloned();
        let end = End {
            succeeded,
            content,
            data: raw,
            changes: data.map_or_else(Vec::new, patched),
        };
        let mut updates = vec![self.calls.finish(id, end)];
        updates.extend(self.plans.finish_call(id, succeeded, data.unwrap_or(&Value::Null)));
        Some(updates)
    }

    /// A text that the agent itself has put into the conversation.
    fn translate_synthetic(&mut self, parent: &str, text: &str) -> Vec<Update> {
        if !synthetic::starts_over(text) {
            return Vec::new();
        }
        let void = self.messages.abandon(parent, 0);
        self.take_back(&void)
    }

    /// Before the agent has written text or called a tool, a text is the prompt again, which some programs write. The
    /// turn's own `prompt` record has it.
    fn translate_user_text(&self, parent: &str, text: &str) -> Vec<Update> {
        if parent.is_empty() && !self.answered && !self.called {
            return Vec::new();
        }
        vec![Update::prompt(text)]
    }

    fn translate_system(&mut self, event: &Value, line: &[u8]) -> Option<Vec<Update>> {
        if str_at(event, "subtype") == "init" {
            self.calls.set_cwd(str_at(event, "cwd"));
        }
        let mut updates = Vec::new();
        // Qwen's own: the model is asked again, and continues the text or begins anew.
        let data = event.get("data").filter(|_| str_at(event, "subtype") == "retry");
        if data.is_some_and(|data| data.get("preserveText").and_then(Value::as_bool) == Some(false)) {
            let void = self.messages.start_over("");
            updates = self.take_back(&void);
        }
        updates.extend(self.system.translate(event)?);
        // Only a retry of claude is in its update completely.
        Some(with_raw_unless(updates, str_at(event, "subtype") == "api_retry", line))
    }

    fn translate_result(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let result: ResultLine<'_> = serde_json::from_slice(line).ok()?;
        let mut updates: Vec<Update> = self.system.finish().into_iter().collect();
        // The answer of a claude command (`/cost`) is only here.
        if let (Some(text), false, false) = (&result.result, self.answered, result.is_failure())
            && !text.is_empty()
        {
            self.messages.complete("", "");
            updates.extend(self.messages.push_complete("", Kind::Message, text));
        }
        self.usage = self.usage.plus(result.usage());
        if self.usage != Usage::default() {
            updates.push(Update::Usage(UsageReport::new(
                self.usage,
                self.context(),
                result.context_window(),
            )));
        }
        Some(with_raw_unless(updates, !result.is_failure(), line))
    }

    fn context(&self) -> Context {
        self.request
            .map_or(Context::Unknown, |request| Context::Tokens(request.total()))
    }

    /// The tokens of the last request, for a dialect that counts cached input as a part of the input.
    pub(crate) fn context_with_cache_in_input(&self) -> Context {
        self.request.map_or(Context::Unknown, |request| {
            Context::Tokens(request.total_without_cache())
        })
    }
}

/// The changed places of a file, as claude reports them after an edit.
fn patched(data: &Value) -> Vec<Change> {
    let (path, hunks) = (str_at(data, "filePath"), data.get("structuredPatch"));
    let hunks = hunks.and_then(Value::as_array).into_iter().flatten();
    let change = |hunk: &Value| {
        let line = hunk.get("newStart").and_then(Value::as_u64);
        let mut change = Change {
            path: path.to_owned(),
            old: Some(String::new()),
            new: String::new(),
            line: line.and_then(|line| u32::try_from(line).ok()),
        };
        let lines = hunk.get("lines")?.as_array()?.iter().filter_map(Value::as_str);
        lines.for_each(|line| push_line(&mut change, line));
        Some(change)
    };
    hunks.filter_map(change).filter(|_| !path.is_empty()).collect()
}

/// Adds the line as it is if the updates do not have all of its content.
fn with_raw_unless(mut updates: Vec<Update>, all_known: bool, line: &[u8]) -> Vec<Update> {
    if !all_known {
        updates.push(Update::raw(line));
    }
    updates
}
