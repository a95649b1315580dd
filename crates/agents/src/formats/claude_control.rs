//! The output of Claude Code when it is talked with, as seen with 2.1.329: its stream, and between its lines those with
//! which it asks and answers.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::{Translator, Update};
use super::{CLAUDE_STREAM_JSON, Format, claude_stream_json};

pub(crate) static CLAUDE_CONTROL: Format = Format {
    name: "claude-control",
    observer: CLAUDE_STREAM_JSON.observer,
    translator: Some(|| Box::new(Updates::default())),
    ..CLAUDE_STREAM_JSON
};

#[derive(Clone, Default)]
struct Updates {
    stream: claude_stream_json::Updates,
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

impl Translator for Updates {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let head = serde_json::from_slice::<Head<'_>>(line).ok();
        match head.map(|head| (head.kind, head.request.map(|request| request.subtype))) {
            // The call was told before, the question is a record of its own.
            Some((kind, Some(subtype))) if kind == "control_request" && subtype == "can_use_tool" => Some(Vec::new()),
            // To what promptd itself asked for; and a question that the interrupt has answered.
            Some((kind, _)) if kind == "control_response" || kind == "control_cancel_request" => Some(Vec::new()),
            _ => self.stream.line(line),
        }
    }
}
