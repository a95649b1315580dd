//! One client and what belongs to its connection.

use std::sync::{Arc, OnceLock};

use agent_client_protocol_schema::v1::{Error, RequestId};
use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::message;
use super::open::OpenSessions;
use super::pending::PendingPermissions;
use super::running::RunningRequests;
use crate::api::http::problem::Problem;
use crate::api::state::SharedState;
use crate::api::stream::websocket::{Disconnected, Sender};
use crate::runtime::Session;
use promptd_model::PermissionMode;

/// One client.
pub(super) struct Connection {
    pub(super) api: SharedState,
    pub(super) sender: Arc<Sender>,
    pub(super) defaults: Defaults,
    /// From the client's `initialize`.
    pub(super) shown: OnceLock<Shown>,
    pub(super) open: OpenSessions,
    /// Every connection may follow one session; further ones share what is left of the files.
    pub(super) first: Arc<Semaphore>,
    pub(super) pending: PendingPermissions,
    /// Requests that wait for something other than a turn.
    pub(super) running: Arc<RunningRequests>,
}

/// What the URL of the connection says about all of its sessions.
pub(super) struct Defaults {
    pub(super) agent: Option<String>,
    pub(super) permission: Option<PermissionMode>,
    /// Output that has no ACP update is sent as `_promptd/raw`.
    pub(super) raw: bool,
}

/// What a client gets only if it says that it shows it.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown {
    pub(super) notices: bool,
    pub(super) compactions: bool,
    /// Questions as forms.
    pub(super) forms: bool,
}

impl Shown {
    /// As the parameters of `initialize` say.
    pub(super) fn of(params: &Value) -> Self {
        let asks = |what: &str| {
            let capability = params.pointer(&format!("/clientCapabilities/{what}"));
            capability.is_some_and(Value::is_object)
        };
        Self {
            notices: asks("session/notices"),
            compactions: asks("session/compaction"),
            forms: asks("elicitation/form"),
        }
    }
}

/// Tasks that send to the client; they end with its connection.
pub(super) type Tasks = JoinSet<()>;

impl Connection {
    pub(super) async fn respond(&self, id: RequestId, result: Result<Value, Error>) -> Result<(), Disconnected> {
        self.sender.send_text(message::response(id, result)).await
    }

    /// The session of this id.
    pub(super) fn find(&self, id: &str) -> Result<Arc<Session>, Problem> {
        Ok(self.api.runtime.sessions.get(id)?)
    }

    /// Permits to follow a session, or to replay one.
    pub(super) fn follow_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let first = Arc::clone(&self.first).try_acquire_owned();
        let permit = first.or_else(|_| Arc::clone(&self.api.followed).try_acquire_owned());
        permit.map_err(|_| {
            let detail = "too many sessions are open in ACP clients; end some with session/close, or raise the limit of open \
                          files (`ulimit -n`)";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_open_sessions", detail)
        })
    }

    /// A refusal without the secrets of the session.
    pub(super) fn masked(&self, session: &Session, problem: Problem) -> Error {
        self.api.masked(Some(session), problem).into()
    }
}
