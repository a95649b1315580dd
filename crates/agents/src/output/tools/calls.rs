//! The tool calls of one attempt as ACP updates, from their start to their end.

use std::collections::HashMap;

use agent_client_protocol_schema::v1::{
    SessionUpdate, ToolCall, ToolCallContent, ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields,
};
use serde_json::Value;

use super::edit::Change;
use super::kind::kind;
use super::tool;
use crate::output::update::Update;

/// So many calls are known at the same time. Of more, each update is passed on as it comes.
const MAX_OPEN: usize = 1000;

/// The calls that have an update and have not finished.
#[derive(Default, Clone)]
pub(crate) struct Calls {
    open: HashMap<String, Call>,
    /// The agent's working directory, if it is known.
    cwd: Option<String>,
}

#[derive(Clone)]
struct Call {
    name: String,
    /// None until it is complete.
    input: Option<Value>,
}

/// How a call ended.
#[derive(Default)]
pub(crate) struct End {
    pub(crate) succeeded: bool,
    /// Its output for a person.
    pub(crate) content: Vec<ToolCallContent>,
    /// Its result as data.
    pub(crate) data: Option<Value>,
    /// What it has changed in files, if the agent reports it.
    pub(crate) changes: Vec<Change>,
}

impl End {
    /// An end with a text as its output.
    pub(crate) fn with_text(succeeded: bool, output: &str) -> Self {
        Self {
            succeeded,
            content: tool::text_content(output),
            ..Self::default()
        }
    }

    /// An end with an output of any shape.
    pub(crate) fn with_output(succeeded: bool, output: &Value) -> Self {
        Self {
            succeeded,
            content: tool::output_content(output),
            ..Self::default()
        }
    }

    /// The result as data, too.
    #[must_use]
    pub(crate) fn data(self, data: Option<Value>) -> Self {
        Self { data, ..self }
    }
}

impl Calls {
    /// Paths in titles are relative to this folder.
    pub(crate) fn set_cwd(&mut self, cwd: &str) {
        self.cwd = Some(cwd.to_owned()).filter(|cwd| !cwd.is_empty());
    }

    /// Whether a call has an update and has not finished.
    pub(crate) fn is_open(&self, id: &str) -> bool {
        self.open.contains_key(id)
    }

    /// The model begins to write a call. Its input is not complete.
    pub(crate) fn announce(&mut self, id: &str, name: &str) -> Update {
        let call = Call {
            name: name.to_owned(),
            input: None,
        };
        self.remember(id, call);
        let call = tool::call(id, name, Value::Null, self.cwd.as_deref());
        let call = call.raw_input(None).status(ToolCallStatus::Pending);
        SessionUpdate::ToolCall(call).into()
    }

    /// A call starts, or its input has changed since; `None` if there is nothing new.
    pub(crate) fn start(&mut self, id: &str, name: &str, input: Value) -> Option<Update> {
        let new = Call {
            name: name.to_owned(),
            input: Some(input),
        };
        let known = self.open.get(id);
        let is_same = known.is_some_and(|known| known.input == new.input);
        let is_known = known.is_some();
        if is_same {
            return None;
        }
        let call = self.call(id, &new).status(ToolCallStatus::InProgress);
        self.remember(id, new);
        Some(if is_known {
            SessionUpdate::ToolCallUpdate(call.into()).into()
        } else {
            SessionUpdate::ToolCall(call).into()
        })
    }

    /// A call that the agent reports only after its end.
    pub(crate) fn complete(&mut self, id: &str, name: &str, input: Value, end: End) -> Vec<Update> {
        let started = self.start(id, name, input);
        let ended = self.finish(id, end);
        started.into_iter().chain([ended]).collect()
    }

    /// The complete output of a call so far.
    pub(crate) fn progress(id: &str, content: Vec<ToolCallContent>) -> Update {
        let fields = ToolCallUpdateFields::new()
            .status(ToolCallStatus::InProgress)
            .content(content);
        SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields)).into()
    }

    /// A call has finished. What a file was changed to stays its content: the output of an edit only confirms it.
    pub(crate) fn finish(&mut self, id: &str, end: End) -> Update {
        let call = self.open.remove(id);
        let status = if end.succeeded {
            ToolCallStatus::Completed
        } else {
            ToolCallStatus::Failed
        };
        let mut fields = ToolCallUpdateFields::new().status(status).raw_output(end.data);
        let input = call.and_then(|call| Some((kind(&call.name), call.input?)));
        let is_edit = input.is_some_and(|(kind, input)| !tool::changes(kind, &input).is_empty());
        if !end.succeeded || (!is_edit && end.changes.is_empty()) {
            fields = fields.content(end.content);
        } else {
            if !end.changes.is_empty() {
                let locations: Vec<_> = end.changes.iter().map(tool::location).collect();
                let diffs: Vec<_> = end.changes.iter().map(tool::diff).collect();
                fields = fields.content(diffs).locations(locations);
            }
            if fields.raw_output.is_none() {
                fields = fields.raw_output(text_of(&end.content));
            }
        }
        SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields)).into()
    }

    /// A call that will never run.
    pub(crate) fn abandon(&mut self, id: &str) -> Option<Update> {
        self.is_open(id).then(|| self.finish(id, End::default()))
    }

    fn remember(&mut self, id: &str, call: Call) {
        if self.open.len() < MAX_OPEN || self.is_open(id) {
            self.open.insert(id.to_owned(), call);
        }
    }

    fn call(&self, id: &str, call: &Call) -> ToolCall {
        let input = call.input.clone().unwrap_or_default();
        tool::call(id, &call.name, input, self.cwd.as_deref())
    }
}

/// The text of a content, as data.
fn text_of(content: &[ToolCallContent]) -> Option<Value> {
    let content = serde_json::to_value(content).ok()?;
    let texts = content.as_array()?.iter();
    let texts: Vec<&str> = texts
        .filter_map(|content| content.pointer("/content/text")?.as_str())
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n").into())
}
