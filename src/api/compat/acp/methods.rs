//! What a client may ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1::{
    AGENT_METHOD_NAMES as METHODS, AgentCapabilities, AuthenticateResponse, CancelNotification, Error, ErrorCode,
    Implementation, InitializeResponse, McpCapabilities, PromptCapabilities, PromptRequest, RequestId,
    SessionCapabilities, SessionCloseCapabilities, SessionDeleteCapabilities, SessionListCapabilities,
    SessionResumeCapabilities,
};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use super::message::{params, told};
use super::{Connection, words};
use crate::api::http::problem::Problem;
use crate::api::stream::ws::Gone;
use crate::runtime::Session;

impl Connection {
    /// Does what a request asks for. What takes its time is answered later: `session/prompt` and `session/load` by who
    /// follows the session, `session/close` and `session/delete` when its work has ended.
    pub(super) async fn request(
        self: &Arc<Self>,
        id: RequestId,
        method: &str,
        given: Value,
        followers: &mut JoinSet<()>,
    ) -> Result<(), Gone> {
        let answer = if method == METHODS.initialize {
            value(&initialize())
        } else if method == METHODS.authenticate {
            value(&AuthenticateResponse::new())
        } else if method == METHODS.session_new {
            self.new_session(given, followers).await
        } else if method == METHODS.session_list {
            self.list(given)
        } else if method == METHODS.session_resume {
            self.resume(given, followers).await
        } else if method == METHODS.session_close {
            match self.close(id.clone(), given, followers).await {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            }
        } else if method == METHODS.session_delete {
            match self.delete(id.clone(), given, followers) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            }
        } else if method == METHODS.session_load {
            match self.load(id.clone(), given, followers) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            }
        } else if method == METHODS.session_prompt {
            match self.prompt(id.clone(), given, followers).await {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            }
        } else {
            let method: String = method.chars().take(200).collect();
            let message = format!("there is no method {method:?}; initialize tells what there is");
            Err(told(ErrorCode::MethodNotFound, message))
        };
        self.respond(id, answer).await
    }

    /// Hears what needs no answer; what is not known may be passed over.
    pub(super) async fn notified(&self, method: &str, given: Value) {
        if method != METHODS.session_cancel {
            return;
        }
        let Ok(cancel) = params::<CancelNotification>(given) else {
            return;
        };
        if let Ok(session) = self.api.runtime.session(&cancel.session_id.0) {
            // Nobody waits for an answer.
            drop(self.cancel(&session).await);
        }
    }

    /// Ends what the session does, and the prompts of this client that wait behind it.
    pub(super) async fn cancel(&self, session: &Arc<Session>) -> Result<(), Problem> {
        let own = match self.known(session) {
            Some(open) => open.own_turns().await,
            None => BTreeSet::new(),
        };
        match self.api.cancel(session, own).await {
            // What has ended by itself meanwhile needs no interrupt.
            Err(problem) if problem.code() != "not_running" => Err(problem),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn prompt(self: &Arc<Self>, id: RequestId, given: Value, followers: &mut JoinSet<()>) -> Result<(), Error> {
        let wanted: PromptRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        let text = words::prompt(wanted.prompt)?;
        let open = self.join(&session, followers).await?;
        let mut awaited = open.awaited.lock().await;
        let Some(awaited) = awaited.as_mut() else {
            let message = "the session has just been closed; open it again with session/load";
            return Err(told(ErrorCode::InvalidRequest, message));
        };
        let prompted = self.api.prompt(&session, text, None).await;
        let prompted = prompted.map_err(|problem| self.api.hide(Some(&session), problem).json_rpc())?;
        awaited.insert(prompted.turn, id);
        Ok(())
    }
}

fn initialize() -> InitializeResponse {
    let sessions = SessionCapabilities::new()
        .list(SessionListCapabilities::new())
        .resume(SessionResumeCapabilities::new())
        .close(SessionCloseCapabilities::new())
        .delete(SessionDeleteCapabilities::new());
    let capabilities = AgentCapabilities::new()
        .load_session(true)
        .prompt_capabilities(PromptCapabilities::new().embedded_context(true))
        .mcp_capabilities(McpCapabilities::new().http(true).sse(true))
        .session_capabilities(sessions);
    InitializeResponse::new(ProtocolVersion::V1)
        .agent_capabilities(capabilities)
        .agent_info(Implementation::new("promptd", env!("CARGO_PKG_VERSION")))
}

/// A result as JSON.
pub(super) fn value(of: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(of).map_err(|error| told(ErrorCode::InternalError, error.to_string()))
}
