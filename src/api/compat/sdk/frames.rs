//! Records to frames of the pattern, and its messages to prompts; pure.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::http::json::parse_message;
use crate::api::http::problem::Problem;
use promptd_agents::{JsonPart, json_parts};
use promptd_model::{Body, ContentBlock, Output, PromptContent, Record, RecordKind, Status, Stream};
use promptd_model::{LineAssembler, LinePart, decode};

/// What a client sends.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// The next turn's prompt.
    User {
        content: PromptContent,
        /// The agent begins a new conversation.
        fresh: bool,
    },
    Interrupt,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Input {
    UserMessage {
        data: UserMessage,
        #[serde(default)]
        fresh: bool,
    },
    Interrupt {},
}

/// An `SDKUserMessage`; its `session_id` is the client's own and means nothing here.
#[derive(Deserialize)]
struct UserMessage {
    message: UserContent,
}

#[derive(Deserialize)]
struct UserContent {
    content: Value,
}

/// Reads what a client sends.
pub(super) fn message(text: &str) -> Result<Message, Problem> {
    match parse_message(text.as_bytes())? {
        Input::UserMessage { data, fresh } => {
            let content = prompt(data.message.content)?;
            Ok(Message::User { content, fresh })
        }
        Input::Interrupt {} => Ok(Message::Interrupt),
    }
}

fn prompt(content: Value) -> Result<PromptContent, Problem> {
    let blocks = match content {
        Value::String(text) => return Ok(text.into()),
        Value::Array(blocks) => blocks,
        _ => {
            return Err(unknown(
                "data.message.content",
                "is neither a text nor a list of blocks",
            ));
        }
    };
    // Texts are lines of their own, as ever.
    let texts = blocks
        .iter()
        .map(|block| block["text"].as_str().filter(|_| block["type"] == "text"));
    if let Some(texts) = texts.collect::<Option<Vec<_>>>() {
        return Ok(texts.join("\n").into());
    }
    let blocks = blocks
        .iter()
        .enumerate()
        .map(|(index, block)| content_block(index, block));
    blocks.collect::<Result<_, _>>().map(PromptContent::Blocks)
}

/// A block as the model's API has it.
fn content_block(index: usize, block: &Value) -> Result<ContentBlock, Problem> {
    let (kind, source) = (&block["type"], &block["source"]);
    let given = match (kind.as_str(), source["type"].as_str()) {
        (Some("text"), _) => json!({ "type": "text", "text": block["text"] }),
        (Some("image"), Some("base64")) => {
            json!({ "type": "image", "data": source["data"], "mimeType": source["media_type"] })
        }
        (Some("document"), Some("base64")) => {
            let file = json!({ "uri": title(block), "mimeType": source["media_type"], "blob": source["data"] });
            json!({ "type": "resource", "resource": file })
        }
        (Some("document"), Some("text")) => {
            json!({ "type": "resource", "resource": { "uri": title(block), "text": source["data"] } })
        }
        _ => {
            let what = "is neither a text nor an image or document in base64; put everything else into files";
            return Err(unknown(&format!("data.message.content[{index}]"), what));
        }
    };
    let block = serde_path_to_error::deserialize(given);
    block.map_err(|error| {
        unknown(
            &format!("data.message.content[{index}]"),
            &format!("cannot be read: {error}"),
        )
    })
}

fn title(block: &Value) -> &str {
    block["title"].as_str().unwrap_or("document")
}

fn unknown(field: &str, what: &str) -> Problem {
    Problem::bad_request("invalid_field", format!("{field} {what}")).with("field", field)
}

/// A session's records, one after the other, to the frames of a client.
#[derive(Debug)]
pub(super) struct Frames {
    session: String,
    /// Records up to this one give no frames.
    after: u64,
    partial: bool,
    lines: [LineAssembler; 2],
    in_setup: bool,
    /// The agent has sent its own result in this turn.
    has_result: bool,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type", default)]
    kind: String,
}

impl Frames {
    pub(super) fn new(session: &str, after: u64, partial: bool) -> Self {
        Self {
            session: session.to_owned(),
            after,
            partial,
            lines: Default::default(),
            in_setup: false,
            has_result: false,
        }
    }

    /// Whether records of this kind can give frames. What callers send can be large, and gives none.
    pub(super) fn wants(kind: RecordKind<'_>) -> bool {
        !matches!(
            kind,
            RecordKind::Other("prompt" | "stdin" | "steer" | "permission_answer")
        )
    }

    /// The frames of a line of the journal.
    pub(super) fn record(&mut self, line: &[u8]) -> Vec<String> {
        let Some(Record { seq, body, .. }) = decode(line) else {
            return Vec::new();
        };
        let mut frames = self.body(seq, body);
        if seq <= self.after {
            frames.clear();
        }
        frames
    }

    fn body(&mut self, seq: u64, body: Body) -> Vec<String> {
        match body {
            Body::Stdout(output) => self.output(seq, Stream::Stdout, &output),
            Body::Stderr(output) => self.output(seq, Stream::Stderr, &output),
            Body::Setup(_) => {
                self.in_setup = true;
                Vec::new()
            }
            Body::Started(_) => {
                self.in_setup = false;
                self.has_result = false;
                Vec::new()
            }
            Body::Exited(_) => self.rest(seq),
            Body::Permission(permission) => {
                let (session, id) = (&self.session, &permission.id);
                let asks = format!(
                    "claude asks: {}; answer with POST /v1/sessions/{session}/permissions/{id}",
                    permission.title
                );
                vec![self.frame(seq, "info", "data", &asks.into())]
            }
            Body::TurnEnded(ended) => {
                let mut frames = self.rest(seq);
                let reported = std::mem::take(&mut self.has_result) || ended.status == Status::Completed;
                if !reported {
                    let cause = ended.cause.map(|cause| json!(cause));
                    let cause = cause.as_ref().and_then(Value::as_str).unwrap_or("no cause is known");
                    let error = ended.error.filter(|_| ended.status != Status::Cancelled);
                    let error = error.unwrap_or_else(|| format!("the turn ended: {cause}"));
                    frames.push(self.frame(seq, "error", "error", &error.into()));
                }
                frames
            }
            _ => Vec::new(),
        }
    }

    fn output(&mut self, seq: u64, stream: Stream, output: &Output) -> Vec<String> {
        let [stdout, stderr] = &mut self.lines;
        let lines = if stream == Stream::Stdout { stdout } else { stderr };
        let part = lines.push(output);
        part.map_or_else(Vec::new, |part| self.part(seq, stream, &part))
    }

    /// Output that no newline has ended.
    fn rest(&mut self, seq: u64) -> Vec<String> {
        let [stdout, stderr] = &mut self.lines;
        let parts = [(Stream::Stdout, stdout.finish()), (Stream::Stderr, stderr.finish())];
        let parts = parts.into_iter().filter_map(|(stream, part)| Some((stream, part?)));
        parts.flat_map(|(stream, part)| self.part(seq, stream, &part)).collect()
    }

    fn part(&mut self, seq: u64, stream: Stream, part: &LinePart) -> Vec<String> {
        let parts = if stream == Stream::Stdout && !self.in_setup && part.is_whole() {
            json_parts(&part.bytes)
        } else {
            Vec::new()
        };
        if parts.is_empty() {
            return self.info(seq, &part.bytes).into_iter().collect();
        }
        let frames = parts.into_iter().filter_map(|part| match part {
            JsonPart::Text(text) => self.info(seq, text),
            JsonPart::Object(object) => self.message(seq, object),
        });
        frames.collect()
    }

    fn info(&self, seq: u64, text: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(text);
        (!text.is_empty()).then(|| self.frame(seq, "info", "data", &text.as_ref().into()))
    }

    fn message(&mut self, seq: u64, object: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(object);
        let message = serde_json::from_str::<&RawValue>(&text).ok();
        let kind = message.and_then(|message| serde_json::from_str::<Kind>(message.get()).ok());
        let (Some(message), Some(Kind { kind })) = (message, kind) else {
            return self.info(seq, object);
        };
        self.has_result |= kind == "result";
        let left_out = match kind.as_str() {
            "stream_event" => !self.partial,
            // Control messages between the agent and promptd.
            "control_request" | "control_response" | "control_cancel_request" => true,
            _ => false,
        };
        if left_out {
            return None;
        }
        let session = Value::from(self.session.as_str());
        let message = message.get();
        Some(format!(
            r#"{{"type":"sdk_message","data":{message},"seq":{seq},"session":{session}}}"#
        ))
    }

    fn frame(&self, seq: u64, kind: &str, member: &str, value: &Value) -> String {
        json!({ "type": kind, member: value, "seq": seq, "session": self.session }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, rest: &str) -> Vec<u8> {
        format!(r#"{{"seq":{seq},"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":{rest}}}"#).into_bytes()
    }

    fn stdout(seq: u64, data: &str, eol: bool) -> Vec<u8> {
        let data = Value::from(data);
        line(seq, &format!(r#""stdout","to":{seq},"eol":{eol},"data":{data}"#))
    }

    fn parsed(frames: &[String]) -> Vec<Value> {
        frames
            .iter()
            .map(|frame| serde_json::from_str(frame).unwrap())
            .collect()
    }

    #[test]
    fn an_agents_line_is_one_message_whatever_records_it_came_in() {
        let mut frames = Frames::new("s", 0, false);
        assert!(frames.record(&stdout(1, r#"{"type":"assist"#, false)).is_empty());
        let found = frames.record(&stdout(2, r#"ant","big":12345678901234567890123}"#, true));
        let expected =
            r#"{"type":"sdk_message","data":{"type":"assistant","big":12345678901234567890123},"seq":2,"session":"s"}"#;
        assert_eq!(found, [expected]);
        assert!(frames.record(&stdout(3, r#"{"type":"stream_event"}"#, true)).is_empty());
        let mut partial = Frames::new("s", 0, true);
        assert_eq!(partial.record(&stdout(3, r#"{"type":"stream_event"}"#, true)).len(), 1);
    }

    #[test]
    fn messages_are_found_in_a_line_with_other_things() {
        let mut frames = Frames::new("s", 0, false);
        let line = "\x1b]0;title\x07{\"type\":\"assistant\"}{\"type\":\"result\"} bye";
        let found = parsed(&frames.record(&stdout(1, line, true)));
        let kinds: Vec<_> = found.iter().map(|frame| &frame["data"]).collect();
        assert_eq!(
            kinds,
            [&json!({"type":"assistant"}), &json!({"type":"result"}), &json!(" bye")]
        );
    }

    #[test]
    fn records_before_the_cursor_are_read_and_not_sent() {
        let mut frames = Frames::new("s", 1, false);
        assert!(frames.record(&stdout(1, r#"{"type":"a"#, false)).is_empty());
        assert_eq!(parsed(&frames.record(&stdout(2, "\"}", true)))[0]["data"]["type"], "a");
    }

    #[test]
    fn other_output_is_sent_as_info() {
        let mut frames = Frames::new("s", 0, false);
        for text in ["Warning: x", "[1]", "17"] {
            let found = parsed(&frames.record(&stdout(1, text, true)));
            assert_eq!(
                found,
                [json!({ "type": "info", "data": text, "seq": 1, "session": "s" })]
            );
        }
        let stderr = line(2, r#""stderr","to":9,"data":"{\"type\":\"assistant\"}""#);
        assert_eq!(parsed(&frames.record(&stderr))[0]["type"], "info");
    }

    #[test]
    fn a_failed_turn_without_its_own_result_sends_an_error() {
        let failed = r#""turn_ended","status":"failed","cause":"spawn_failed","error":"no such program""#;
        let mut frames = Frames::new("s", 0, false);
        let found = parsed(&frames.record(&line(5, failed)));
        assert_eq!(found[0]["error"], "no such program");
        assert_eq!(frames.record(&stdout(6, r#"{"type":"result"}"#, true)).len(), 1);
        assert!(frames.record(&line(7, failed)).is_empty());
    }

    #[test]
    fn a_user_message_is_a_prompt() {
        let user = |content: Value| {
            let data = json!({ "type": "user", "session_id": "x", "parent_tool_use_id": null,
                "message": { "role": "user", "content": content } });
            message(&json!({ "type": "user_message", "data": data }).to_string())
        };
        let said = |text: &str| Message::User {
            content: text.to_owned().into(),
            fresh: false,
        };
        assert_eq!(user(json!("hi")).unwrap(), said("hi"));
        let blocks = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        assert_eq!(user(blocks).unwrap(), said("a\nb"));
        assert_eq!(message(r#"{"type":"interrupt"}"#).unwrap(), Message::Interrupt);
        for wrong in [json!([{ "type": "image" }]), json!(1), json!([17])] {
            assert_eq!(user(wrong).unwrap_err().code(), "invalid_field");
        }
        assert_eq!(message("hello").unwrap_err().code(), "malformed_json");
    }
}
