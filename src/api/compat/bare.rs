//! `/`: a WebSocket that takes a prompt as plain text, for clients that know nothing but the host's name.
//!
//! The first message, plain text or `{"prompt", "agent"?, …create fields}`, creates a session; its records
//! follow. Every further message is the next turn, or a command as on `/v1/sessions/{id}/ws`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::api::http::json::parse;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::state::{AppState, SharedState};
use crate::api::stream::feed::{Feed, Until};
use crate::api::stream::websocket::{CloseFrame, Disconnected, Receiver, Sender, Upgrade};
use crate::api::stream::ws::{execute, send_answer};
use crate::runtime::{Created, Session};
use promptd_agents::repair_json;
use promptd_model::{SessionRequest, View};

/// A WebSocket on the bare host; a browser gets a pointer to the documentation.
#[utoipa::path(get, path = "/", tag = "elsewhere",
    params(("view" = Option<View>, Query, description = "The vocabulary of records; `raw` when absent")),
    responses(
    (status = 101, description = "In: a prompt as text, or the body of `POST /v1/sessions`; out: records as text messages"),
    (status = 200, description = "Where to read on", body = String, content_type = "text/plain"),
))]
pub(crate) async fn root(
    State(api): State<SharedState>,
    query: Query,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let Ok(upgrade) = upgrade else {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(format!(
            "promptd {version} runs coding agents: POST /v1/sessions {{\"prompt\":\"…\"}}. All calls: /openapi.json\n"
        )
        .into_response());
    };
    let view = query.view()?;
    Ok(upgrade.serve(&Arc::clone(&api), async move |sender, receiver| {
        serve(&api, &sender, receiver, view).await
    }))
}

async fn serve(
    api: &AppState,
    sender: &Sender,
    mut receiver: Receiver,
    view: View,
) -> Result<CloseFrame, Disconnected> {
    let (Created { session, turn, .. }, feed) = loop {
        let created = match receiver.next_text().await? {
            Ok(text) => create(api, &text, view).await,
            Err(problem) => Err(problem),
        };
        receiver.release_memory();
        match created {
            Ok(created) => break created,
            Err(problem) => send_answer(sender, Err(api.masked(None, problem))).await?,
        }
    };
    let created = json!({ "type": "ack", "command": "create", "id": session.id().as_str(), "turn": turn });
    send_answer(sender, Ok(created)).await?;
    let turns = async {
        loop {
            let answer = match receiver.next_text().await? {
                Ok(text) => next_turn(api, &session, &text).await,
                Err(problem) => Err(problem),
            };
            receiver.release_memory();
            send_answer(sender, answer.map_err(|problem| api.masked(Some(&session), problem))).await?;
        }
    };
    tokio::select! {
        closed = sender.send_feed(feed) => closed,
        closed = turns => closed,
    }
}

async fn create(api: &AppState, text: &str, view: View) -> Result<(Created, Feed), Problem> {
    let created = api.create(first_message(text)?, None).await?;
    let feed = Feed::open(&api.runtime, &created.session, created.after, Until::Deleted, view)?;
    Ok((created, feed))
}

/// Reads the first message.
fn first_message(text: &str) -> Result<SessionRequest, Problem> {
    if json_object(text).is_none() {
        return Ok(SessionRequest {
            prompt: Some(text.to_owned().into()),
            ..SessionRequest::default()
        });
    }
    let request: SessionRequest = parse(text.as_bytes())?;
    if request.prompt.is_none() {
        return Err(Problem::bad_request(
            "invalid_field",
            "prompt is missing; send {\"prompt\":\"…\"} or plain text",
        )
        .with("field", "prompt"));
    }
    Ok(request)
}

/// A further message: a prompt, or a command where it has a `type`.
async fn next_turn(api: &AppState, session: &Arc<Session>, text: &str) -> Result<Value, Problem> {
    let Some(mut fields) = json_object(text) else {
        let prompted = api.prompt(session, text.to_owned(), None).await?;
        return Ok(json!({ "type": "ack", "command": "prompt", "turn": prompted.turn }));
    };
    if fields.contains_key("type") {
        return execute(api, session, text).await;
    }
    fields.insert("type".to_owned(), "prompt".into());
    execute(api, session, &Value::Object(fields).to_string()).await
}

/// A message that is a JSON object; one that only looks like it is plain text.
fn json_object(text: &str) -> Option<Map<String, Value>> {
    text.trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str(&repair_json(text)).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_a_prompt_or_a_request() {
        let prompt = |text: &str| first_message(text).map(|request| request.prompt.unwrap().text().into_owned());
        assert_eq!(prompt("fix the bug").unwrap(), "fix the bug");
        assert_eq!(prompt("{x} is not JSON").unwrap(), "{x} is not JSON");
        assert_eq!(prompt(r#" {"prompt":"hi","agent":"shell"}"#).unwrap(), "hi");
        assert_eq!(prompt(r#"{"prompt":"cut \ud83d here"}"#).unwrap(), "cut \u{fffd} here");
        assert_eq!(prompt(r#"{"promt":"hi"}"#).unwrap_err().code(), "unknown_field");
        assert_eq!(prompt(r#"{"agent":"shell"}"#).unwrap_err().code(), "invalid_field");
    }
}
