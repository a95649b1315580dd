//! Converts events to bodies.

use serde_json::{Map, Value, json};

use super::event::Event;
use super::shorten::shorten;
use promptd_model::{Status, WebhookFormat};

/// The fields of GitHub's payload besides `details`; GitHub accepts ten at most.
const GITHUB_PAYLOAD: [&str; 9] = [
    "sandbox_id",
    "status",
    "session",
    "agent",
    "agent_id",
    "turn",
    "seq",
    "result",
    "error",
];

/// The status of a session that was just created.
const CREATED: &str = "created";

/// The body of an event.
pub(super) fn body(format: WebhookFormat, event: &Event) -> Vec<u8> {
    let mut data = event.data.clone();
    shorten(&mut data);
    let body = match format {
        WebhookFormat::Standard => standard(event, data),
        WebhookFormat::Github => github(event, data),
        WebhookFormat::Plain => plain(event, data),
    };
    body.to_string().into_bytes()
}

fn standard(event: &Event, data: Map<String, Value>) -> Value {
    json!({ "type": event.of.name(), "timestamp": event.time, "data": data })
}

/// `repository_dispatch`: <https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event>.
fn github(event: &Event, mut data: Map<String, Value>) -> Value {
    let event_type = match event.status {
        None => "sandbox_created",
        Some(Status::Completed) => "execution_complete",
        Some(Status::Failed | Status::Cancelled | Status::TimedOut | Status::Lost) => "execution_failed",
    };
    name_sandbox(&mut data);
    data.entry("status").or_insert_with(|| CREATED.into());
    let mut payload: Map<String, Value> = Map::new();
    for name in GITHUB_PAYLOAD {
        payload.extend(data.remove(name).map(|value| (name.to_owned(), value)));
    }
    data.insert("event".to_owned(), Value::from(event.of.name()));
    data.insert("timestamp".to_owned(), Value::from(event.time.as_str()));
    payload.insert("details".to_owned(), Value::Object(data));
    json!({ "event_type": event_type, "client_payload": payload })
}

/// In formats for other systems, the sandbox has the name that they know, and it is always there: empty outside of one.
fn name_sandbox(data: &mut Map<String, Value>) {
    let sandbox = data.remove("sandbox").unwrap_or_else(|| "".into());
    data.insert("sandbox_id".to_owned(), sandbox);
}

/// Only strings, numbers and booleans: objects become fields with longer names, lists become JSON text.
fn plain(event: &Event, mut data: Map<String, Value>) -> Value {
    name_sandbox(&mut data);
    let mut flat = Map::new();
    flat.insert("event".to_owned(), Value::from(event.of.name()));
    flat.insert("timestamp".to_owned(), Value::from(event.time.as_str()));
    for (name, value) in data {
        flatten(&mut flat, name, value);
    }
    Value::Object(flat)
}

fn flatten(flat: &mut Map<String, Value>, name: String, value: Value) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (inner, value) in fields {
                flatten(flat, format!("{name}_{inner}"), value);
            }
        }
        Value::Array(_) => drop(flat.insert(name, Value::String(value.to_string()))),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => drop(flat.insert(name, value)),
    }
}
