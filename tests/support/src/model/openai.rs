//! The Responses protocol of `OpenAI`: `POST /v1/responses`, always streamed.

use axum::Json;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, Part, Reply, Vendor, events, list, named_event, string};

pub(super) const VENDOR: Vendor = Vendor { parts, respond };

fn parts(body: &Value) -> Vec<Part> {
    let mut parts = Vec::new();
    for item in list(body, "input") {
        let texts = list(item, "content")
            .iter()
            .map(|content| string(content, "text").to_owned());
        match (string(item, "type"), string(item, "role")) {
            ("message", "user") => parts.extend(texts.map(Part::User)),
            ("message", "assistant") => parts.extend(texts.map(Part::Assistant)),
            ("function_call_output", _) => parts.push(Part::ToolResult),
            _ => {}
        }
    }
    parts
}

fn respond(_uri: &Uri, body: &Value, reply: &Reply) -> Response {
    let created = json!({"type": "response.created", "response": {"id": "resp_scripted"}});
    let mut lines = vec![created];
    match reply {
        Reply::Status(status) => return (*status, Json(error(status.as_u16()))).into_response(),
        Reply::Hang => {
            lines.push(added(&message("")));
            lines.push(delta("Thinking about"));
            return events(lines.iter().map(named_event).collect(), true);
        }
        // Its thoughts come encrypted or as summaries; the agents that use it are asked for neither.
        Reply::Text(pieces) | Reply::Think(_, pieces) => {
            lines.push(added(&message("")));
            lines.extend(pieces.iter().map(|piece| delta(piece)));
            lines.push(done(&message(&pieces.concat())));
        }
        Reply::Run(command) => {
            let call = call(body, "exec_command", &json!({"cmd": command}));
            lines.push(added(&call));
            lines.push(done(&call));
        }
        // Codex knows the tools of a server by the server's namespace, and names none of them in the request's list.
        Reply::Call([server, tool], arguments) => {
            let mut call = call(body, tool, arguments);
            call["namespace"] = json!(format!("mcp__{server}"));
            lines.push(added(&call));
            lines.push(done(&call));
        }
    }
    lines.push(
        json!({"type": "response.completed", "response": {"id": "resp_scripted", "usage": {
        "input_tokens": INPUT_TOKENS, "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
        "output_tokens": OUTPUT_TOKENS, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS}}}),
    );
    events(lines.iter().map(named_event).collect(), false)
}

fn message(text: &str) -> Value {
    let content = if text.is_empty() {
        json!([])
    } else {
        json!([{"type": "output_text", "text": text}])
    };
    json!({"type": "message", "role": "assistant", "id": "msg_scripted", "content": content})
}

fn call(body: &Value, name: &str, arguments: &Value) -> Value {
    let id = format!("call_{}", list(body, "input").len());
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": name,
           "arguments": arguments.to_string()})
}

fn added(item: &Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": 0, "item": item})
}

fn delta(piece: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "msg_scripted", "output_index": 0, "content_index": 0,
           "delta": piece})
}

fn done(item: &Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": 0, "item": item})
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
