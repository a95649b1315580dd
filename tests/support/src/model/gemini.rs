//! Gemini: `POST /v1beta/models/MODEL:streamGenerateContent?alt=sse`.
//!
//! Before it starts, and only where no model was asked for, the CLI has a small model rate the prompt by
//! `:generateContent`. That gets a fixed answer, whatever the script says, and counts no tokens.

use axum::Json;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, Part, Reply, Vendor, events, list, string, tool_named};

pub(super) const VENDOR: Vendor = Vendor { parts, respond };

fn parts(body: &Value) -> Vec<Part> {
    let mut parts = Vec::new();
    for content in list(body, "contents") {
        for part in list(content, "parts") {
            let text = part.get("text").and_then(Value::as_str).map(str::to_owned);
            match (string(content, "role"), text) {
                ("model", Some(text)) => parts.push(Part::Assistant(text)),
                (_, Some(text)) => parts.push(Part::User(text)),
                (_, None) if part.get("functionResponse").is_some() => parts.push(Part::ToolResult),
                (_, None) => {}
            }
        }
    }
    parts
}

fn respond(uri: &Uri, body: &Value, reply: &Reply) -> Response {
    if uri.path().ends_with(":generateContent") {
        let rating = json!({"complexity_reasoning": "scripted", "complexity_score": 10}).to_string();
        let content = json!({"role": "model", "parts": [{"text": rating}]});
        return Json(json!({"candidates": [{"content": content, "finishReason": "STOP"}]})).into_response();
    }
    let parts: Vec<Value> = match reply {
        Reply::Status(status) => return (*status, Json(error(status.as_u16()))).into_response(),
        Reply::Hang => vec![json!({"text": "Thinking about"})],
        // Its stream does not show thoughts.
        Reply::Text(pieces) | Reply::Think(_, pieces) => pieces.iter().map(|piece| json!({"text": piece})).collect(),
        Reply::Call(words, arguments) => {
            let lists = list(body, "tools")
                .iter()
                .flat_map(|tools| list(tools, "functionDeclarations"));
            let name = tool_named(lists.map(|tool| string(tool, "name")), words);
            vec![json!({"functionCall": {"name": name, "args": arguments}})]
        }
        Reply::Run(command) => {
            let args = json!({"command": command, "description": "Does what the script says"});
            vec![json!({"functionCall": {"name": "run_shell_command", "args": args}})]
        }
    };
    let hang = matches!(reply, Reply::Hang);
    let last = parts.len().saturating_sub(1);
    let lines = parts.iter().enumerate().map(|(i, part)| {
        let data = chunk(part, i == last && !hang);
        format!("data: {data}\r\n\r\n")
    });
    events(lines.collect(), hang)
}

fn chunk(part: &Value, last: bool) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": [part]}, "index": 0});
    if last && let Some(fields) = candidate.as_object_mut() {
        fields.insert("finishReason".to_owned(), json!("STOP"));
    }
    json!({"candidates": [candidate], "modelVersion": "scripted", "responseId": "scripted", "usageMetadata": {
        "promptTokenCount": INPUT_TOKENS, "cachedContentTokenCount": CACHED_TOKENS,
        "candidatesTokenCount": OUTPUT_TOKENS, "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS}})
}

fn error(status: u16) -> Value {
    let name = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": "scripted failure", "status": name}})
}
