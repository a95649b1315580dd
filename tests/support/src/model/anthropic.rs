//! Anthropic Messages: `POST /v1/messages`, always streamed.

use axum::Json;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{
    CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, Part, Reply, Vendor, events, list, named_event, string, tool_named,
};

pub(super) const VENDOR: Vendor = Vendor { parts, respond };

fn parts(body: &Value) -> Vec<Part> {
    let mut parts = Vec::new();
    for message in list(body, "messages") {
        let wrap = match string(message, "role") {
            "user" => Part::User,
            "assistant" => Part::Assistant,
            // Claude puts some of its instructions among the messages.
            _ => continue,
        };
        if let Some(text) = message.get("content").and_then(Value::as_str) {
            parts.push(wrap(text.to_owned()));
        }
        for block in list(message, "content") {
            match string(block, "type") {
                "text" => parts.push(wrap(string(block, "text").to_owned())),
                "tool_result" => parts.push(Part::ToolResult),
                _ => {}
            }
        }
    }
    parts
}

fn respond(_uri: &Uri, body: &Value, reply: &Reply) -> Response {
    let start = json!({"type": "message_start", "message": {
        "id": "msg_scripted", "type": "message", "role": "assistant", "content": [], "model": body.get("model"),
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": INPUT_TOKENS - CACHED_TOKENS, "cache_creation_input_tokens": 0,
                  "cache_read_input_tokens": CACHED_TOKENS, "output_tokens": 1}}});
    let (block, deltas, stop_reason) = match reply {
        Reply::Status(status) => return (*status, Json(error(status.as_u16()))).into_response(),
        Reply::Hang => {
            let open =
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
            return events(
                [start, open, text("Thinking about")].iter().map(named_event).collect(),
                true,
            );
        }
        Reply::Text(pieces) => {
            let deltas: Vec<Value> = pieces.iter().map(|piece| text(piece)).collect();
            (json!({"type": "text", "text": ""}), deltas, "end_turn")
        }
        Reply::Think(thought, pieces) => {
            let thought = json!({"type": "content_block_delta", "index": 0,
                                 "delta": {"type": "thinking_delta", "thinking": thought}});
            let text = |piece: &String| {
                json!({"type": "content_block_delta", "index": 1,
                                               "delta": {"type": "text_delta", "text": piece}})
            };
            let mut deltas = vec![
                thought,
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
            ];
            deltas.extend(pieces.iter().map(text));
            (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                deltas,
                "end_turn",
            )
        }
        Reply::Run(command) => {
            let input = json!({"command": command, "description": "Does what the script says"});
            tool_use(body, "Bash", &input)
        }
        Reply::Call(words, arguments) => {
            let names = list(body, "tools").iter().map(|tool| string(tool, "name"));
            tool_use(body, &tool_named(names, words), arguments)
        }
    };
    let mut lines = vec![
        start,
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ];
    lines.extend(deltas);
    let last = u8::from(matches!(reply, Reply::Think(..)));
    lines.push(json!({"type": "content_block_stop", "index": last}));
    lines.push(
        json!({"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null},
                      "usage": {"output_tokens": OUTPUT_TOKENS}}),
    );
    lines.push(json!({"type": "message_stop"}));
    events(lines.iter().map(named_event).collect(), false)
}

fn tool_use(body: &Value, name: &str, input: &Value) -> (Value, Vec<Value>, &'static str) {
    let delta = json!({"type": "input_json_delta", "partial_json": input.to_string()});
    // The id must differ between the calls of one conversation.
    let id = format!("toolu_{}", list(body, "messages").len());
    let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
    let deltas = vec![json!({"type": "content_block_delta", "index": 0, "delta": delta})];
    (block, deltas, "tool_use")
}

fn text(piece: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
}

fn error(status: u16) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": "scripted failure"}})
}
