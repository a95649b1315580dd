//! The output of goose, by its documentation and its source: `goose run --output-format stream-json`.
//!
//! <https://block.github.io/goose/docs/guides/goose-cli-commands> names the option; the events are the `StreamEvent` and
//! the `Message` of <https://github.com/block/goose>, `crates/goose-cli/src/session/mod.rs` and
//! `crates/goose/src/conversation/message.rs`. `complete` ends every turn, one with an `error` too. A message comes in
//! pieces with one id. Only the sum of tokens is told, and not the session.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::observe::{keep_stderr, lenient, limited, push_text};
use super::super::{Observer, Translator, Update, cause};
use super::{Format, tool};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static GOOSE_STREAM_JSON: Format = Format {
    name: "goose-stream-json",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Words)),
};

#[derive(Default)]
struct Reader {
    seen: Observation,
    /// What the model said since its last call of a tool.
    answer: String,
    error: Option<(Cause, String)>,
}

#[derive(Clone)]
struct Words;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    message: Option<Message>,
    #[serde(default, deserialize_with = "lenient")]
    error: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message {
    role: String,
    content: Vec<Block>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    text: String,
    thinking: String,
    tool_call: Value,
    tool_result: Value,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        match (&*event.kind, event.message) {
            ("message", Some(message)) if message.role == "assistant" => {
                for block in message.content {
                    match block.kind.as_str() {
                        "text" => push_text(&mut self.answer, &block.text),
                        "toolRequest" => self.answer.clear(),
                        _ => {}
                    }
                }
            }
            ("error", _) => {
                let error = limited(&event.error.unwrap_or_default());
                self.error = Some((cause::tell(None, &error), error));
                self.end();
            }
            ("complete", _) => self.end(),
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn end(&mut self) {
        let answer = Some(self.answer.clone()).filter(|answer| !answer.is_empty());
        let (outcome, stop_reason, result, error) = match self.error.clone() {
            Some((cause, error)) => (Err(cause), None, None, Some(error)),
            None => (Ok(()), Some(StopReason::EndTurn), answer, None),
        };
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result,
            error,
            usage: Usage::default(),
        });
    }
}

impl Translator for Words {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        if &*event.kind != "message" {
            return None;
        }
        // A message is known as a whole or not at all, so that no block of it is lost.
        let Message { role, content } = event.message?;
        content.into_iter().map(|block| update(&role, block)).collect()
    }
}

fn update(role: &str, block: Block) -> Option<Update> {
    let value = |result: &Value| result.get("value").cloned().unwrap_or_default();
    let succeeded = |result: &Value| result.get("status").and_then(Value::as_str) == Some("success");
    match block.kind.as_str() {
        "text" if role == "assistant" => Some(Update::message(block.text)),
        "text" => Some(Update::prompt(block.text)),
        "thinking" => Some(Update::thought(block.thinking)),
        "toolRequest" if succeeded(&block.tool_call) => {
            let call = value(&block.tool_call);
            let arguments = call.get("arguments").cloned().unwrap_or_default();
            Some(tool::started(&block.id, call.get("name")?.as_str()?, arguments))
        }
        "toolResponse" => {
            let result = value(&block.tool_result);
            let failed = result.get("isError").and_then(Value::as_bool) == Some(true);
            let output = tool::text(result.get("content").unwrap_or(&result));
            Some(tool::ended(
                &block.id,
                succeeded(&block.tool_result) && !failed,
                &output,
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the documentation; no recording.
    const TURN: &str = r#"{"type":"message","message":{"id":"m1","role":"assistant","created":1,"content":[{"type":"toolRequest","id":"t1","toolCall":{"status":"success","value":{"name":"developer__shell","arguments":{"command":"ls"}}}}]}}
{"type":"message","message":{"id":"m2","role":"user","created":1,"content":[{"type":"toolResponse","id":"t1","toolResult":{"status":"success","value":{"content":[{"type":"text","text":"a"}],"isError":false}}}]}}
{"type":"message","message":{"id":"m3","role":"assistant","created":1,"content":[{"type":"text","text":"Ans"}]}}
{"type":"message","message":{"id":"m3","role":"assistant","created":1,"content":[{"type":"text","text":"wer."}]}}
{"type":"complete","total_tokens":117}"#;

    #[test]
    fn a_turn_by_the_documentation_is_read() {
        let mut reader = Reader::default();
        let mut words = 0;
        for line in TURN.lines() {
            reader.line(Stream::Stdout, line.as_bytes());
            words += Words.line(line.as_bytes()).map_or(0, |updates| updates.len());
        }
        let event = reader.seen.final_event.unwrap();
        assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer.")));
        assert_eq!(words, 4);
    }

    #[test]
    fn an_error_is_not_made_good_by_the_completion_behind_it() {
        let mut reader = Reader::default();
        reader.line(Stream::Stdout, br#"{"type":"error","error":"Rate limit exceeded"}"#);
        reader.line(Stream::Stdout, br#"{"type":"complete","total_tokens":null}"#);
        assert_eq!(reader.seen.final_event.unwrap().outcome, Err(Cause::Quota));
    }
}
