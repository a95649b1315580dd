//! `/`: a WebSocket that takes a prompt as it is, for clients that know nothing but the host's name.
//!
//! The first message, plain text or `{"prompt", "agent"?, …create fields}`, creates a session; its records
//! follow. Every further message is the next turn, or a command as on `/v1/sessions/{id}/ws`.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::SplitStream;
use serde_json::{Map, Value, json};

use crate::api::http::json as body;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::stream::feed::{Feed, Until, is_down};
use crate::api::stream::ws::{Client, Gone, command, next_text, prepare, send_records, shutting_down};
use crate::api::{Api, Shared};
use crate::runtime::{Created, Session};
use promptd_model::{SessionRequest, View};

/// A WebSocket on the bare host; a browser is told where to read on.
#[utoipa::path(get, path = "/", tag = "elsewhere",
    params(("view" = Option<View>, Query, description = "In which words records come; `raw` when absent")),
    responses(
    (status = 101, description = "In: a prompt as text, or the body of `POST /v1/sessions`; out: records as text messages"),
    (status = 200, description = "Where to read on", body = String, content_type = "text/plain"),
))]
pub(crate) async fn root(
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Ok(upgrade) = upgrade else {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(format!(
            "promptd {version} runs coding agents: POST /v1/sessions {{\"prompt\":\"…\"}}. All calls: /openapi.json\n"
        )
        .into_response());
    };
    let view = query.view()?;
    let upgrade = prepare(upgrade, &headers, api.body_limit());
    Ok(upgrade.on_upgrade(move |socket| async move {
        let open = api.sockets.subscribe();
        let mut shutdown = api.runtime.shutdown();
        let (client, inbox) = Client::new(socket);
        tokio::select! {
            // Who has gone needs no answer.
            _gone = converse(&api, &client, inbox, view) => {}
            () = client.ping(api.runtime.breaks()) => {}
            () = is_down(&mut shutdown) => client.close(shutting_down()).await,
        }
        drop(open);
    }))
}

async fn converse(api: &Shared, client: &Client, mut inbox: SplitStream<WebSocket>, view: View) -> Result<(), Gone> {
    let (created, feed) = loop {
        let Some(text) = next_text(client, &mut inbox).await else {
            return Ok(());
        };
        match open(api, text.map(|text| opening(&text)), view).await {
            Ok(opened) => break opened,
            Err(problem) => client.answer(Err(api.hide(None, problem))).await?,
        }
    };
    let session = created.session;
    client
        .answer(Ok(
            json!({ "type": "ack", "command": "create", "id": session.id().as_str(), "turn": created.turn }),
        ))
        .await?;
    let turns = async {
        while let Some(text) = next_text(client, &mut inbox).await {
            let answer = match text {
                Ok(text) => next_turn(api, &session, &text).await,
                Err(problem) => Err(problem),
            };
            let answer = answer.map_err(|problem| api.hide(Some(&session), problem));
            client.answer(answer).await?;
        }
        Ok(())
    };
    tokio::select! {
        close = send_records(feed, client) => {
            client.close(close).await;
            Ok(())
        }
        gone = turns => gone,
    }
}

async fn open(
    api: &Shared,
    request: Result<Result<SessionRequest, Problem>, Problem>,
    view: View,
) -> Result<(Created, Feed), Problem> {
    let created = api.create(request??, None).await?;
    let feed = Feed::open(&api.runtime, &created.session, created.after, Until::Deleted, view)?;
    Ok((created, feed))
}

/// Reads the first message.
fn opening(text: &str) -> Result<SessionRequest, Problem> {
    if json_object(text).is_none() {
        return Ok(SessionRequest {
            prompt: Some(text.to_owned()),
            ..SessionRequest::default()
        });
    }
    let request: SessionRequest = body::parse(text.as_bytes())?;
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
async fn next_turn(api: &Api, session: &Arc<Session>, text: &str) -> Result<Value, Problem> {
    let Some(mut fields) = json_object(text) else {
        let prompted = api.prompt(session, text.to_owned(), None).await?;
        return Ok(json!({ "type": "ack", "command": "prompt", "turn": prompted.turn }));
    };
    if fields.contains_key("type") {
        return command(api, session, text).await;
    }
    fields.insert("type".to_owned(), "prompt".into());
    command(api, session, &Value::Object(fields).to_string()).await
}

/// A message that is a JSON object; one that only looks like it is plain text.
fn json_object(text: &str) -> Option<Map<String, Value>> {
    text.trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_is_a_prompt_or_a_request() {
        let prompt = |text: &str| opening(text).map(|request| request.prompt.unwrap_or_default());
        assert_eq!(prompt("fix the bug").unwrap(), "fix the bug");
        assert_eq!(prompt("{x} is not JSON").unwrap(), "{x} is not JSON");
        assert_eq!(prompt(r#" {"prompt":"hi","agent":"shell"}"#).unwrap(), "hi");
        assert_eq!(prompt(r#"{"promt":"hi"}"#).unwrap_err().code(), "unknown_field");
        assert_eq!(prompt(r#"{"agent":"shell"}"#).unwrap_err().code(), "invalid_field");
    }
}
