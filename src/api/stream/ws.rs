//! A session over a WebSocket: records out, commands in, on one connection.
//!
//! Out: each record as one text message, as the journal has it, secrets hidden. Answers to commands are
//! `{"type":"ack",…}` and `{"type":"error","code","detail"}`; they have no `seq`. In: see [`Command`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::api::http::auth::requested_protocol;
use crate::api::http::keepalive::Pulse;
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::ProblemDetails;
use crate::api::stream::feed::{Feed, Step, Until};
use crate::api::stream::framer::Messages;
use crate::api::{Api, Shared};
use crate::runtime::Session;
use promptd_model::View;

/// Often enough that no proxy takes the connection for dead.
const PING: Duration = Duration::from_secs(20);

/// What a client may send.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    /// Begins the next turn.
    Prompt { prompt: String },
    /// Asks the agent to stop this turn.
    Interrupt {},
    /// Ends the turn and its process tree.
    Stop {
        #[serde(default)]
        grace: Option<f64>,
    },
    /// Writes to the agent's standard input.
    Input {
        #[serde(default)]
        data: String,
        #[serde(default)]
        close: bool,
    },
    /// Answers a question of the agent.
    Permission { id: String, option: String },
}

/// The journal over WebSocket, and commands back.
#[utoipa::path(get, path = "/v1/sessions/{id}/ws", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session"),
        ("after" = Option<u64>, Query, description = "Begin after this `seq`; 0 when absent"),
        ("follow" = Option<bool>, Query, description = "false: send what is there and close; true when absent"),
        ("view" = Option<View>, Query, description = "`raw`, the journal's own lines, when absent; with `updates` what agents say comes as `UpdateEvent`s"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`promptd.bearer.<token>`, for browsers"),
    ),
    responses(
        (status = 101, description = "Records as text messages; in: `{\"type\":\"prompt\",\"prompt\"}`, `{\"type\":\"interrupt\"}`, `{\"type\":\"stop\",\"grace\"}`, `{\"type\":\"input\",\"data\",\"close\"}`, `{\"type\":\"permission\",\"id\",\"option\"}`"),
        (status = 426, description = "`upgrade_required`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn session(
    State(api): State<Shared>,
    SessionPath(session): SessionPath,
    query: Query,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let query = query.only(&["after", "follow", "view"])?;
    let view = query.view()?;
    let after = query.number("after")?.unwrap_or(0);
    let until = if query.flag("follow", true)? {
        Until::Deleted
    } else {
        Until::Now
    };
    let upgrade = upgrade.map_err(|rejection| upgrade_required(&rejection))?;
    let feed = Feed::open(&api.runtime, &session, after, until, view)?;
    let upgrade = prepare(upgrade, &headers, api.body_limit());
    Ok(upgrade.on_upgrade(move |socket| async move {
        let open = api.sockets.subscribe();
        let (client, inbox) = Client::new(socket);
        let commands = obey(&api, &session, &client, inbox);
        tokio::select! {
            close = send_records(feed, &client) => client.close(close).await,
            () = commands => {}
            () = client.ping(api.runtime.breaks()) => {}
        }
        drop(open);
    }))
}

/// Sets an upgrade's limits, and echoes the protocol that carried the token, without which browsers hang up.
pub(crate) fn prepare(upgrade: WebSocketUpgrade, headers: &HeaderMap, limit: usize) -> WebSocketUpgrade {
    let mut upgrade = upgrade.max_message_size(limit).max_frame_size(limit);
    if let Some(protocol) = requested_protocol(headers).and_then(|protocol| HeaderValue::try_from(protocol).ok()) {
        upgrade.set_selected_protocol(protocol);
    }
    upgrade
}

pub(crate) fn upgrade_required(rejection: &WebSocketUpgradeRejection) -> Problem {
    let detail = format!("this call speaks WebSocket ({rejection}); for plain HTTP use …/events");
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
        .with_header(axum::http::header::UPGRADE, "websocket")
        .with_header(axum::http::header::CONNECTION, "upgrade")
}

/// The sending half of a connection.
pub(crate) struct Client {
    sink: Mutex<SplitSink<WebSocket, Message>>,
    pulse: Pulse,
}

/// The client has gone.
pub(crate) struct Gone;

impl Client {
    pub(crate) fn new(socket: WebSocket) -> (Self, SplitStream<WebSocket>) {
        let (sink, inbox) = socket.split();
        let client = Self {
            sink: Mutex::new(sink),
            pulse: Pulse::default(),
        };
        (client, inbox)
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        self.sink.lock().await.send(message).await.map_err(|_| Gone)
    }

    /// Sends each line as a message.
    async fn send_lines(&self, lines: Vec<Bytes>) -> Result<(), Gone> {
        let mut sink = self.sink.lock().await;
        for line in lines {
            // The journal is JSON, hence UTF-8; a damaged line is better seen mended than not at all.
            let text = Utf8Bytes::try_from(line.clone())
                .unwrap_or_else(|_| String::from_utf8_lossy(&line).into_owned().into());
            sink.feed(Message::Text(text)).await.map_err(|_| Gone)?;
        }
        sink.flush().await.map_err(|_| Gone)
    }

    /// Sends one message.
    pub(crate) async fn say(&self, text: String) -> Result<(), Gone> {
        self.send(Message::text(text)).await
    }

    /// What was sent has been taken: who reads slowly answers a ping only behind all that.
    pub(crate) fn is_heard(&self) {
        self.pulse.heard();
    }

    /// Answers a command.
    pub(crate) async fn answer(&self, answer: Result<Value, Problem>) -> Result<(), Gone> {
        let value = answer
            .unwrap_or_else(|problem| json!({ "type": "error", "code": problem.code(), "detail": problem.detail() }));
        self.send(Message::text(value.to_string())).await
    }

    pub(crate) async fn close(&self, frame: CloseFrame) {
        // Who has gone needs no goodbye.
        drop(self.send(Message::Close(Some(frame))).await);
    }

    /// Keeps the connection alive, and asks at once when it has become doubtful; ends when nobody is there.
    pub(crate) async fn ping(&self, mut breaks: watch::Receiver<u64>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PING) => {}
                _ = breaks.changed() => {}
            }
            if !self.pulse.beats() || self.send(Message::Ping(Bytes::new())).await.is_err() {
                return;
            }
        }
    }
}

/// Sends records until there are no more; answers how to close.
pub(crate) async fn send_records(mut feed: Feed, client: &Client) -> CloseFrame {
    let mut messages = Messages::default();
    loop {
        let lines = match feed.next(messages.seq()).await {
            Ok(Step::Piece(piece)) => messages.split(&piece),
            Ok(Step::Lines(lines)) => lines.into_iter().map(|line| line.text).collect(),
            Ok(Step::Silence) => continue,
            Ok(Step::End) => return close(close_code::NORMAL, "end"),
            Ok(Step::Shutdown) => return shutting_down(),
            Err(error) => {
                tracing::error!(%error, cause = %error.source, "an event stream breaks off");
                return close(close_code::ERROR, "the journal cannot be read");
            }
        };
        if client.send_lines(lines).await.is_err() {
            return close(close_code::NORMAL, "");
        }
        // Who reads slowly answers a ping only behind all that; the kernel finds out who reads nothing at all.
        client.pulse.heard();
    }
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame {
        code,
        reason: Utf8Bytes::from_static(reason),
    }
}

/// Tells a client to come back to the next server.
pub(crate) fn shutting_down() -> CloseFrame {
    close(close_code::RESTART, "the server restarts; connect again with ?after=")
}

/// The next message as text; `None` when the client has gone.
pub(crate) async fn next_text(
    client: &Client,
    inbox: &mut SplitStream<WebSocket>,
) -> Option<Result<Utf8Bytes, Problem>> {
    client.pulse.listen(true);
    let text = read_text(client, inbox).await;
    client.pulse.listen(false);
    text
}

async fn read_text(client: &Client, inbox: &mut SplitStream<WebSocket>) -> Option<Result<Utf8Bytes, Problem>> {
    loop {
        let message = inbox.next().await?.ok()?;
        client.pulse.heard();
        match message {
            Message::Text(text) => return Some(Ok(text)),
            Message::Binary(bytes) => {
                let not_text =
                    |_| Problem::bad_request("invalid_message", "the message is binary and not UTF-8; send text");
                return Some(Utf8Bytes::try_from(bytes).map_err(not_text));
            }
            // The library answers pings.
            // Nor is there anything to do at a close: the next look sends the answer, and then nothing more comes.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
}

/// Obeys commands until the client has gone.
async fn obey(api: &Api, session: &Arc<Session>, client: &Client, mut inbox: SplitStream<WebSocket>) {
    while let Some(text) = next_text(client, &mut inbox).await {
        let answer = match text {
            Ok(text) => command(api, session, &text).await,
            Err(problem) => Err(problem),
        };
        let answer = answer.map_err(|problem| api.hide(Some(session), problem));
        if client.answer(answer).await.is_err() {
            return;
        }
    }
}

/// Obeys one command; answers its `ack`.
pub(crate) async fn command(api: &Api, session: &Arc<Session>, text: &str) -> Result<Value, Problem> {
    match crate::api::http::json::parse(text.as_bytes())? {
        Command::Prompt { prompt } => {
            let prompted = api.prompt(session, prompt, None).await?;
            Ok(json!({ "type": "ack", "command": "prompt", "turn": prompted.turn }))
        }
        Command::Interrupt {} => {
            api.interrupt(session).await?;
            Ok(json!({ "type": "ack", "command": "interrupt" }))
        }
        Command::Stop { grace } => {
            let survivors = api.stop(session, grace).await?;
            Ok(json!({ "type": "ack", "command": "stop", "survivors": survivors }))
        }
        Command::Input { data, close } => {
            api.input(session, data.into(), close).await?;
            Ok(json!({ "type": "ack", "command": "input" }))
        }
        Command::Permission { id, option } => {
            let answer = api.answer(session, id, option).await?;
            Ok(json!({ "type": "ack", "command": "permission", "id": answer.id, "option": answer.option }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_worded_and_typos_refused() {
        let parse = |text: &str| crate::api::http::json::parse::<Command>(text.as_bytes());
        assert!(matches!(
            parse(r#"{"type":"stop","grace":5}"#),
            Ok(Command::Stop { grace: Some(_) })
        ));
        assert!(matches!(parse(r#"{"type":"interrupt"}"#), Ok(Command::Interrupt {})));
        assert!(matches!(
            parse(r#"{"type":"input","data":"y\n","close":true}"#),
            Ok(Command::Input { close: true, .. })
        ));
        assert!(matches!(
            parse(r#"{"type":"permission","id":"p1","option":"allow_once"}"#),
            Ok(Command::Permission { .. })
        ));
        assert_eq!(
            parse(r#"{"type":"prompt","promt":"x"}"#).unwrap_err().code(),
            "unknown_field"
        );
        assert_eq!(
            parse(r#"{"type":"interrupt","x":1}"#).unwrap_err().code(),
            "unknown_field"
        );
        let unknown = parse(r#"{"type":"halt"}"#).unwrap_err();
        assert!(unknown.detail().contains("`interrupt`"), "{}", unknown.detail());
    }
}
