//! `/v1/acp`: the Agent Client Protocol, agent side, over WebSocket (<https://agentclientprotocol.com>): any installed
//! agent behind it, whether or not it speaks ACP itself.
//!
//! Owns the connection: frames in (`message`, pure), methods (`methods`; those that open and end sessions: `sessions`),
//! what is said of each session that the client has opened (`open`, `follow`), questions for the client (`questions`),
//! and the way between ACP's words and ours (`words`, pure). Promises that all that a turn says reaches the client before the answer to its `session/prompt`, that a frame
//! that makes no sense costs one answer and not the connection, and that a client that leaves ends nothing: the turn
//! goes on, its questions stay open for others, and `session/load` tells the rest. May not keep anything beyond the
//! connection: a session is its journal.

mod follow;
mod message;
mod methods;
mod open;
mod questions;
mod sessions;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use agent_client_protocol_schema::v1::{Error, RequestId};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::SplitStream;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::api::Shared;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::openapi::ProblemDetails;
use crate::api::stream::feed::is_down;
use crate::api::stream::ws::{Client, Gone, next_text, prepare, shutting_down, upgrade_required};
use message::Incoming;
use open::Open;
use promptd_model::PermissionMode;
use questions::Questions;

/// One client.
struct Connection {
    api: Shared,
    client: Client,
    wishes: Wishes,
    /// The sessions it has opened, by their ids.
    open: Mutex<BTreeMap<String, Arc<Open>>>,
    questions: Mutex<Questions>,
}

/// What the address says of all sessions of a connection.
struct Wishes {
    agent: Option<String>,
    permission: Option<PermissionMode>,
    /// What has no word in ACP goes out as `_promptd/raw`.
    raw: bool,
}

/// ACP over WebSocket, one JSON-RPC message per text frame.
#[utoipa::path(get, path = "/v1/acp", tag = "elsewhere",
    params(
        ("agent" = Option<String>, Query, description = "Which agent new sessions get; else `_meta.promptd.agent` of `session/new`, else the configured default"),
        ("permission" = Option<PermissionMode>, Query, description = "Of new sessions; when absent `ask` for agents that can be asked to ask, and `bypass` for all others"),
        ("raw" = Option<bool>, Query, description = "Send what has no word in ACP as `_promptd/raw` notifications; false when absent"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`promptd.bearer.<token>`, for browsers"),
    ),
    responses(
        (status = 101, description = "ACP v1: `initialize`, `authenticate`, `session/new`, `session/load`, `session/resume`, `session/list`, `session/prompt`, `session/cancel`, `session/close`, `session/delete`; `session/update` and `session/request_permission` back. `_meta.promptd` of `session/new` takes the fields of `POST /v1/sessions`; `session/load` and `session/resume` want the session's own `cwd`, and no `mcpServers` but its own"),
        (status = 426, description = "`upgrade_required`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn acp(
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let query = query.only(&["agent", "permission", "raw"])?;
    let wishes = Wishes {
        agent: query.text("agent").map(str::to_owned),
        permission: query.text("permission").map(permission).transpose()?,
        raw: query.flag("raw", false)?,
    };
    let upgrade = upgrade.map_err(|rejection| upgrade_required(&rejection))?;
    let upgrade = prepare(upgrade, &headers, api.body_limit());
    Ok(upgrade.on_upgrade(move |socket| async move {
        let open = api.sockets.subscribe();
        let mut shutdown = api.runtime.shutdown();
        let (client, inbox) = Client::new(socket);
        let connection = Arc::new(Connection {
            api: Arc::clone(&api),
            client,
            wishes,
            open: Mutex::default(),
            questions: Mutex::default(),
        });
        tokio::select! {
            // Who has gone needs no answer.
            _gone = connection.serve(inbox) => {}
            () = connection.client.ping(api.runtime.breaks()) => {}
            () = is_down(&mut shutdown) => connection.client.close(shutting_down()).await,
        }
        drop(open);
    }))
}

fn permission(text: &str) -> Result<PermissionMode, Problem> {
    serde_json::from_value(text.into()).map_err(|_| invalid("permission", text, "ask or bypass"))
}

impl Connection {
    /// Serves the client until it goes; what is told of its sessions ends with it.
    async fn serve(self: &Arc<Self>, mut inbox: SplitStream<WebSocket>) -> Result<(), Gone> {
        let mut followers = JoinSet::new();
        while let Some(text) = next_text(&self.client, &mut inbox).await {
            // Those of sessions that were deleted have ended.
            while followers.try_join_next().is_some() {}
            match text {
                Ok(text) => self.frame(&text, &mut followers).await?,
                Err(problem) => self.respond(RequestId::Null, Err(problem.json_rpc())).await?,
            }
        }
        Ok(())
    }

    async fn frame(self: &Arc<Self>, text: &str, followers: &mut JoinSet<()>) -> Result<(), Gone> {
        match message::read(text) {
            Ok(Incoming::Request { id, method, params }) => self.request(id, &method, params, followers).await,
            Ok(Incoming::Notification { method, params }) => {
                self.notified(&method, params).await;
                Ok(())
            }
            Ok(Incoming::Answer { id, result }) => {
                self.answered(&id, result).await;
                Ok(())
            }
            Err(refusal) => self.respond(refusal.id, Err(*refusal.error)).await,
        }
    }

    async fn respond(&self, id: RequestId, result: Result<Value, Error>) -> Result<(), Gone> {
        self.client.say(message::response(id, result)).await
    }
}
