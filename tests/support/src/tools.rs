//! An MCP server over HTTP; the one over stdio is `mcp_server.mjs`.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What every shell and every agent would like to put something into.
pub const SECRET: &str = "s3cret-'$HOME'-${HOME}-\"x\"";

/// A server of tools over HTTP, which keeps the `Authorization` that its callers sent.
pub struct Docs {
    pub url: String,
    asked_by: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Docs {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let asked_by = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked_by);
        let app = axum::Router::new().route(
            "/mcp",
            axum::routing::post(move |headers: HeaderMap, Json(message): Json<Value>| async move {
                let name = headers
                    .get("authorization")
                    .map(|value| value.to_str().unwrap().to_owned());
                seen.lock().unwrap().extend(name);
                answer(&message)
            }),
        );
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked_by, task }
    }

    /// What its callers sent as their `Authorization`.
    pub fn asked_by(&self) -> Vec<String> {
        self.asked_by.lock().unwrap().clone()
    }
}

impl Drop for Docs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(message: &Value) -> Response {
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "docs", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{"name": "find", "description": "Finds", "inputSchema": {"type": "object"}}]}),
        "tools/call" => json!({"content": [{"type": "text", "text": "docs found it"}]}),
        _ if message["id"].is_null() => return StatusCode::ACCEPTED.into_response(),
        _ => json!({}),
    };
    Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
}
