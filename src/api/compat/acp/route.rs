//! The route: upgrades the connection and reads its frames.

use std::sync::{Arc, OnceLock};

use agent_client_protocol_schema::v1::RequestId;
use axum::extract::State;
use axum::response::Response;
use tokio::sync::Semaphore;

use super::connection::{Connection, Defaults, Tasks};
use super::message::{self, Incoming};
use super::open::OpenSessions;
use super::pending::PendingPermissions;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::state::SharedState;
use crate::api::stream::websocket::{CloseFrame, Disconnected, Receiver, Upgrade};
use promptd_model::PermissionMode;

/// ACP over WebSocket, one JSON-RPC message per text frame.
#[utoipa::path(get, path = "/v1/acp", tag = "elsewhere",
    params(
        ("agent" = Option<String>, Query, description = "Which agent new sessions get; else `_meta.promptd.agent` of `session/new`, else the configured default"),
        ("permission" = Option<PermissionMode>, Query, description = "Of new sessions; when absent `ask` for agents that support it, and `bypass` for all others"),
        ("raw" = Option<bool>, Query, description = "Send output that has no ACP update as `_promptd/raw` notifications; false when absent"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`promptd.bearer.<token>`, for browsers"),
    ),
    responses(
        (status = 101, description = "ACP v1: `initialize`, `authenticate`, `session/new`, `session/load`, `session/resume`, `session/list`, `session/prompt`, `session/cancel`, `$/cancel_request`, `session/close`, `session/delete`, and `_session/steering` (a message into the running turn); `session/update` and `session/request_permission` back, and `elicitation/create` to clients that show forms. `_meta.promptd` of `session/new` takes the fields of `POST /v1/sessions`; `session/load` and `session/resume` want the session's own `cwd`, and no `mcpServers` but its own"),
        (status = 426, description = "`upgrade_required`"),
    ))]
pub(crate) async fn acp(
    State(api): State<SharedState>,
    query: Query,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let query = query.only(&["agent", "permission", "raw"])?;
    let defaults = Defaults {
        agent: query.text("agent").map(str::to_owned),
        permission: query.text("permission").map(permission).transpose()?,
        raw: query.flag("raw", false)?,
    };
    Ok(upgrade?.serve(&Arc::clone(&api), async move |sender, receiver| {
        let connection = Arc::new(Connection {
            api,
            sender,
            defaults,
            shown: OnceLock::new(),
            open: OpenSessions::default(),
            first: Arc::new(Semaphore::new(1)),
            pending: PendingPermissions::default(),
            running: Arc::default(),
        });
        serve(&connection, receiver).await
    }))
}

fn permission(text: &str) -> Result<PermissionMode, Problem> {
    serde_json::from_value(text.into()).map_err(|_| invalid("permission", text, "ask or bypass"))
}

/// Handles frames until the client is gone; its tasks end then.
async fn serve(connection: &Arc<Connection>, mut receiver: Receiver) -> Result<CloseFrame, Disconnected> {
    let mut tasks = Tasks::new();
    loop {
        let text = receiver.next_text().await?;
        // Tasks of deleted sessions have ended.
        while tasks.try_join_next().is_some() {}
        match text.map(|text| message::parse(&text)) {
            Ok(Ok(Incoming::Request { id, method, params })) => {
                let answer = connection.handle_request(id.clone(), &method, params, &mut tasks).await;
                receiver.release_memory();
                if let Some(answer) = answer {
                    connection.respond(id, answer).await?;
                }
            }
            Ok(Ok(Incoming::Notification { method, params })) => connection.handle_notification(&method, params).await,
            Ok(Ok(Incoming::Response { id, result })) => connection.handle_response(&id, result).await?,
            Ok(Err(invalid)) => connection.respond(invalid.id, Err(*invalid.error)).await?,
            Err(problem) => connection.respond(RequestId::Null, Err(problem.into())).await?,
        }
    }
}
