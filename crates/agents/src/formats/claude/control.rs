//! Turns the stream of a dialog into ACP updates. Requests and responses are no updates.

use std::borrow::Cow;

use serde::Deserialize;

use super::translator::ClaudeTranslator;
use crate::output::update::{Translator, Update};

#[derive(Clone, Default)]
pub(super) struct ClaudeControlTranslator {
    stream: ClaudeTranslator,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    subtype: Cow<'a, str>,
}

impl Translator for ClaudeControlTranslator {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let head = serde_json::from_slice::<Head<'_>>(line).ok();
        match head.map(|head| (head.kind, head.request.map(|request| request.subtype))) {
            // The call has an update already, and the question is a record of its own.
            Some((kind, Some(subtype))) if kind == "control_request" && subtype == "can_use_tool" => Some(Vec::new()),
            // What became of a message that was sent during the turn.
            Some((kind, _)) if kind == "command_lifecycle" => Some(Vec::new()),
            // The response to a request of promptd, or a question that an interrupt has answered.
            Some((kind, _)) if kind == "control_response" || kind == "control_cancel_request" => Some(Vec::new()),
            _ => self.stream.translate_line(line),
        }
    }
}
