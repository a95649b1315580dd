//! Backends of a certain shape over the hostile one: a store of logs by key, and a key-value store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Act, Backend, Reply, Request};

/// The key that both stores want.
pub const KEY: &str = "internal-key-4711";

/// What a backend with the routes of `POST /execute`'s callers holds.
#[derive(Debug, Default)]
pub struct Logs {
    /// Appended chunks, and values, by key.
    pub texts: BTreeMap<String, String>,
    /// The `lastSeq` up to which a key has been appended to.
    last: BTreeMap<String, u64>,
    /// Statuses in order of arrival, without repetitions: agent, session, status.
    pub statuses: Vec<(String, String, String)>,
    /// The `error` that came with a status.
    pub errors: Vec<String>,
    /// What no route could make sense of.
    pub strange: Vec<String>,
}

impl Logs {
    /// What a key holds; empty when there is nothing.
    pub fn text(&self, key: &str) -> &str {
        self.texts.get(key).map_or("", String::as_str)
    }

    /// A store of logs behind a backend; without the status route where `statuses` is false.
    pub fn behind(backend: &Backend, statuses: bool) -> Arc<Mutex<Self>> {
        let logs = Arc::new(Mutex::new(Self::default()));
        let shared = Arc::clone(&logs);
        backend.always(Act::Ask(Arc::new(move |request| {
            shared.lock().unwrap().answer(request, statuses)
        })));
        logs
    }

    /// What it does with a request; callers may be worse than this and answer nothing afterwards.
    pub fn answer(&mut self, request: &Request, statuses: bool) -> Reply {
        if request.header("authorization") != format!("Bearer {KEY}") {
            return Reply::status(401).body(r#"{"error":"Unauthorized"}"#);
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        let (Some(agent), Some(session)) = (text("agentId"), text("sessionId")) else {
            return self.strange(request);
        };
        match (
            request.path.as_str(),
            text("key"),
            text("chunk"),
            text("value"),
            text("status"),
        ) {
            ("/api/internal/logs/append", Some(key), Some(chunk), None, None) => {
                let (Some(first), Some(last)) = (body["firstSeq"].as_u64(), body["lastSeq"].as_u64()) else {
                    return self.strange(request);
                };
                let known = self.last.entry(key.clone()).or_default();
                // All of it is new, or all of it is known: bounds of batches never change.
                if first > *known && first <= last && body["timestamp"].is_string() {
                    *known = last;
                    self.texts.entry(key).or_default().push_str(&chunk);
                } else if last > *known || first > last {
                    return self.strange(request);
                }
            }
            ("/api/internal/logs", Some(key), None, Some(value), None) => drop(self.texts.insert(key, value)),
            ("/api/internal/sessions/status", None, None, None, Some(status)) if statuses => {
                let new = (agent, session, status);
                if self.statuses.last() != Some(&new) {
                    self.statuses.push(new);
                }
                self.errors.extend(text("error"));
            }
            ("/api/internal/sessions/status", ..) if !statuses => return Reply::status(404),
            _ => return self.strange(request),
        }
        Reply::ok().body(r#"{"success":true}"#)
    }

    fn strange(&mut self, request: &Request) -> Reply {
        let body = String::from_utf8_lossy(&request.body);
        self.strange
            .push(format!("{} {}: {body}", request.method, request.path));
        Reply::status(400).body(r#"{"error":"strange"}"#)
    }
}

/// What a key-value store of Cloudflare's shape holds.
#[derive(Debug, Default)]
pub struct Values {
    /// Values by key.
    pub values: BTreeMap<String, String>,
    /// What was not as its API has it.
    pub strange: Vec<String>,
}

/// Where the values of account `acc` and namespace `ns` are.
pub const VALUES: &str = "/client/v4/accounts/acc/storage/kv/namespaces/ns/values/";

impl Values {
    /// What a key holds; empty when there is nothing.
    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    /// A key-value store behind a backend.
    pub fn behind(backend: &Backend) -> Arc<Mutex<Self>> {
        let values = Arc::new(Mutex::new(Self::default()));
        let shared = Arc::clone(&values);
        backend.always(Act::Ask(Arc::new(move |request| {
            shared.lock().unwrap().answer(request)
        })));
        values
    }

    fn answer(&mut self, request: &Request) -> Reply {
        if request.header("authorization") != format!("Bearer {KEY}") {
            return Reply::status(401);
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let value = String::from_utf8(request.body.clone());
        let (Some(key), Ok(value), "PUT") = (path.strip_prefix(VALUES), value, request.method.as_str()) else {
            self.strange.push(format!("{} {}", request.method, request.path));
            return Reply::status(400);
        };
        self.values.insert(decoded(key), value);
        Reply::ok().body(json!({ "success": true, "errors": [], "messages": [] }).to_string())
    }
}

/// A key as it was before it became part of a path.
pub fn decoded(key: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = key.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
