//! Generated conversations: texts cut anywhere, chunks that are missing, and attempts that break off at any point.
//!
//! A failure prints the smallest conversation that fails, and its seed is kept in `proptest-regressions`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::claude::cut;
use super::special_cases::text_of_reader;
use super::updates;
use crate::formats::app_server::APP_SERVER;
use crate::formats::copilot_json::COPILOT_JSON;
use crate::formats::format::Format;
use crate::formats::pi_json::PI_JSON;

/// A message of the model.
#[derive(Debug, Clone)]
struct Message {
    /// The chunks of the attempts that broke off.
    broken: Vec<Vec<String>>,
    /// The chunks that the agent wrote. Some may be missing.
    chunks: Vec<String>,
    text: String,
}

/// How an agent writes a message.
struct Dialect {
    format: &'static Format,
    begin: fn() -> Vec<Value>,
    chunk: fn(id: &str, text: &str) -> Value,
    /// The attempt broke off, and the model is asked again.
    retry: fn() -> Vec<Value>,
    complete: fn(id: &str, text: &str) -> Value,
}

const DIALECTS: [Dialect; 3] = [
    Dialect {
        format: &COPILOT_JSON,
        begin: Vec::new,
        chunk: |id, text| json!({"type": "assistant.message_delta", "data": {"messageId": id, "deltaContent": text}}),
        retry: || {
            let failure = json!({"statusCode": 503, "errorMessage": "no"});
            vec![
                json!({"type": "model.call_failure", "data": failure}),
                json!({"type": "assistant.turn_retry", "data": {}}),
            ]
        },
        complete: |id, text| json!({"type": "assistant.message", "data": {"messageId": id, "content": text}}),
    },
    Dialect {
        format: &APP_SERVER,
        begin: Vec::new,
        chunk: |id, text| json!({"method": "item/agentMessage/delta", "params": {"itemId": id, "delta": text}}),
        retry: || vec![json!({"method": "error", "params": {"error": {"message": "no"}, "willRetry": true}})],
        complete: |id, text| {
            let item = json!({"type": "agentMessage", "id": id, "text": text});
            json!({"method": "item/completed", "params": {"item": item}})
        },
    },
    Dialect {
        format: &PI_JSON,
        begin: || vec![json!({"type": "message_start", "message": {"role": "assistant", "content": []}})],
        chunk: |_, text| json!({"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": text}}),
        retry: || {
            let failed = json!({"role": "assistant", "content": [], "stopReason": "error", "errorMessage": "503 no"});
            vec![
                json!({"type": "message_end", "message": failed}),
                json!({"type": "agent_end", "messages": []}),
                json!({"type": "auto_retry_start", "attempt": 1, "errorMessage": "503 no"}),
            ]
        },
        complete: |_, text| {
            let content = json!([{"type": "text", "text": text}]);
            json!({"type": "message_end", "message": {"role": "assistant", "content": content, "usage": {}}})
        },
    },
];

impl Dialect {
    fn stream(&self, messages: &[Message]) -> String {
        let mut lines = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            for (attempt, chunks) in message.broken.iter().enumerate() {
                let id = format!("message-{number}-{attempt}");
                lines.extend((self.begin)());
                lines.extend(chunks.iter().map(|chunk| (self.chunk)(&id, chunk)));
                lines.extend((self.retry)());
            }
            let id = format!("message-{number}");
            lines.extend((self.begin)());
            lines.extend(message.chunks.iter().map(|chunk| (self.chunk)(&id, chunk)));
            lines.push((self.complete)(&id, &message.text));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A text with any characters in it: quotes, control characters, emoji.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "(?s).{1,60}", 1 => "[ab\"\\\\\n\u{1b}é😀]{1,12}", 1 => "(long ){200,400}"]
}

fn pieces() -> impl Strategy<Value = Vec<String>> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    (odd_text(), cuts).prop_map(|(text, cuts)| cut(&text, &cuts))
}

fn message() -> impl Strategy<Value = Message> {
    let missing = prop::collection::vec(any::<bool>(), 8);
    let broken = prop::collection::vec(pieces(), 0..3);
    (broken, pieces(), missing, any::<bool>()).prop_map(|(broken, all, missing, is_lossy)| {
        let kept = all.iter().zip(missing).filter(|(_, missing)| !(is_lossy && *missing));
        Message {
            broken,
            chunks: kept.map(|(chunk, _)| chunk.clone()).collect(),
            text: all.concat(),
        }
    })
}

proptest! {
    #[test]
    fn reader_has_each_message_once_whatever_broke_off(messages in prop::collection::vec(message(), 1..4)) {
        let text: String = messages.iter().map(|message| message.text.as_str()).collect();
        for dialect in DIALECTS {
            let stream = dialect.stream(&messages);
            prop_assert_eq!(text_of_reader(&updates(dialect.format, &stream)), &*text, "{}", dialect.format.name);
        }
    }
}
