//! Chat completions of `OpenAI`, which most agents speak with a server of one's own: `POST …/chat/completions`.
//!
//! A request without tools is a side matter, such as opencode's title for a conversation. It gets a fixed answer,
//! whatever the script says.

use axum::Json;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, Part, Reply, Vendor, events, list, string, tool_named};

pub(super) const VENDOR: Vendor = Vendor { parts, respond };

/// What the agents call their shells.
const SHELLS: [&str; 3] = ["bash", "run_shell_command", "Execute"];

pub(super) fn is_side_matter(path: &str, body: &Value) -> bool {
    path.ends_with("/chat/completions") && list(body, "tools").is_empty()
}

fn parts(body: &Value) -> Vec<Part> {
    let mut parts = Vec::new();
    for message in list(body, "messages") {
        let wrap = match string(message, "role") {
            "user" => Part::User,
            "assistant" => Part::Assistant,
            "tool" => {
                parts.push(Part::ToolResult);
                continue;
            }
            _ => continue,
        };
        if let Some(text) = message.get("content").and_then(Value::as_str) {
            parts.push(wrap(text.to_owned()));
        }
        let blocks = list(message, "content").iter();
        parts.extend(blocks.map(|block| wrap(string(block, "text").to_owned())));
    }
    parts
}

fn respond(uri: &Uri, body: &Value, reply: &Reply) -> Response {
    let title = Reply::Text(vec!["A title".to_owned()]);
    let reply = if is_side_matter(uri.path(), body) {
        &title
    } else {
        reply
    };
    let content = |piece: &String| json!({ "content": piece });
    let (deltas, finish_reason) = match reply {
        Reply::Status(status) => return (*status, Json(error(status.as_u16()))).into_response(),
        Reply::Hang => (vec![json!({"content": "Thinking about"})], None),
        Reply::Text(pieces) => (pieces.iter().map(content).collect(), Some("stop")),
        Reply::Think(thought, pieces) => {
            let mut deltas = vec![json!({ "reasoning_content": thought })];
            deltas.extend(pieces.iter().map(content));
            (deltas, Some("stop"))
        }
        Reply::Run(command) => {
            let shell = names(body).find(|name| SHELLS.contains(name)).unwrap_or("bash");
            let arguments = match shell {
                "Execute" => json!({"command": command, "summary": "Does what the script says", "timeout": 30,
                                    "riskLevel": "low", "riskLevelReason": "It is a test"}),
                _ => json!({"command": command, "description": "Does what the script says"}),
            };
            (vec![call(body, shell, &arguments)], Some("tool_calls"))
        }
        Reply::Call(words, arguments) => {
            let name = tool_named(names(body), words);
            (vec![call(body, &name, arguments)], Some("tool_calls"))
        }
    };
    let mut lines = vec![chunk(&json!({"role": "assistant", "content": ""}), None)];
    lines.extend(deltas.iter().map(|delta| chunk(delta, None)));
    if finish_reason.is_none() {
        return events(lines, true);
    }
    lines.push(chunk(&json!({}), finish_reason));
    lines.push(data(&json!({"choices": [], "usage": {
        "prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS}}})));
    lines.push("data: [DONE]\n\n".to_owned());
    events(lines, false)
}

fn names(body: &Value) -> impl Iterator<Item = &str> {
    list(body, "tools").iter().map(|tool| string(&tool["function"], "name"))
}

fn call(body: &Value, name: &str, arguments: &Value) -> Value {
    // The id must differ between the calls of one conversation.
    let id = format!("call_{}", list(body, "messages").len());
    json!({"tool_calls": [{"index": 0, "id": id, "type": "function",
                           "function": {"name": name, "arguments": arguments.to_string()}}]})
}

fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    data(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}))
}

fn data(fields: &Value) -> String {
    let mut chunk = json!({"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_700_000_000,
                           "model": "scripted"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        chunk[name] = value.clone();
    }
    format!("data: {chunk}\n\n")
}

fn error(status: u16) -> Value {
    let kind = match status {
        401 => "invalid_api_key",
        429 => "rate_limit_exceeded",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": "scripted failure", "type": kind, "code": kind}})
}
