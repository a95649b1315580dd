//! The methods that a client may call.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1::{
    AGENT_METHOD_NAMES as METHODS, AgentCapabilities, AuthenticateResponse, CancelNotification,
    CancelRequestNotification, Error, ErrorCode, Implementation, InitializeResponse, McpCapabilities, Meta,
    PROTOCOL_LEVEL_METHOD_NAMES as PROTOCOL, PromptCapabilities, PromptRequest, RequestId, SessionCapabilities,
    SessionCloseCapabilities, SessionDeleteCapabilities, SessionListCapabilities, SessionResumeCapabilities,
};
use serde_json::{Value, json};

use super::connection::{Connection, Shown, Tasks};
use super::message::{params, rpc_error, value};
use super::requests;
use super::steering::STEERING;
use crate::api::http::problem::Problem;
use crate::runtime::{NewPrompt, Session};

impl Connection {
    /// Handles a request; returns its answer. What takes its time is answered later: `session/prompt` and `session/load`
    /// by the follower of the session, `session/close` and `session/delete` when its work has ended.
    pub(super) async fn handle_request(
        self: &Arc<Self>,
        id: RequestId,
        method: &str,
        given: Value,
        tasks: &mut Tasks,
    ) -> Option<Result<Value, Error>> {
        let answer_later = |result: Result<(), Error>| result.map(|()| None);
        let result = if method == METHODS.initialize {
            let _said_before = self.shown.set(Shown::of(&given));
            value(&initialize()).map(Some)
        } else if method == METHODS.authenticate {
            value(&AuthenticateResponse::new()).map(Some)
        } else if method == METHODS.session_new {
            answer_later(self.new_session(id, given, tasks))
        } else if method == METHODS.session_list {
            self.list(given).map(Some)
        } else if method == METHODS.session_resume {
            self.resume(given, tasks).await.map(Some)
        } else if method == METHODS.session_close {
            answer_later(self.close(id, given, tasks).await)
        } else if method == METHODS.session_delete {
            answer_later(self.delete(id, given, tasks))
        } else if method == METHODS.session_load {
            answer_later(self.load(id, given, tasks))
        } else if method == METHODS.session_prompt {
            answer_later(self.prompt(id, given, tasks).await)
        } else if method == STEERING {
            self.steer(given).await.map(Some)
        } else {
            let method: String = method.chars().take(200).collect();
            let message = format!("there is no method {method:?}; initialize tells what there is");
            Err(rpc_error(ErrorCode::MethodNotFound, message))
        };
        result.transpose()
    }

    /// Handles a notification; unknown ones are ignored.
    pub(super) async fn handle_notification(&self, method: &str, given: Value) {
        // A notification has no answer, not even where it is wrong.
        if method == METHODS.session_cancel
            && let Ok(cancel) = params::<CancelNotification>(given.clone())
            && let Ok(session) = self.find(&cancel.session_id.0)
        {
            drop(self.cancel(&session).await);
        }
        if method == PROTOCOL.cancel_request
            && let Ok(cancel) = params::<CancelRequestNotification>(given)
        {
            self.cancel_request(&cancel.request_id).await;
        }
    }

    /// Ends the turn of one `session/prompt`, which is then answered like every other. Every other request that waits is
    /// answered as cancelled.
    async fn cancel_request(&self, request: &RequestId) {
        self.running.cancel(request);
        for open in self.open.all() {
            if let Some(turn) = open.turn_of(request).await {
                drop(self.api.cancel(&open.session, turn).await);
            }
        }
    }

    /// Interrupts the running turn, and ends the prompts of this client that wait behind it.
    pub(super) async fn cancel(&self, session: &Arc<Session>) -> Result<(), Problem> {
        let own = match self.open.get(session) {
            Some(open) => open.own_turns().await,
            None => BTreeSet::new(),
        };
        self.api.interrupt_if_running(session, own).await
    }

    async fn prompt(self: &Arc<Self>, id: RequestId, given: Value, tasks: &mut Tasks) -> Result<(), Error> {
        let wanted: PromptRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        let options = requests::prompt_options(wanted.meta);
        let options = options.map_err(|problem| self.masked(&session, problem))?;
        let prompt = NewPrompt {
            fresh: options.fresh,
            options: options.of_turn(),
            ..NewPrompt::from(requests::prompt(&wanted.prompt)?)
        };
        let open = self.join(&session, tasks).await?;
        let mut waiting = open.waiting.lock().await;
        let Some(waiting) = waiting.as_mut() else {
            let message = "the session has just been closed; open it again with session/load";
            return Err(rpc_error(ErrorCode::InvalidRequest, message));
        };
        let prompted = self.api.prompt(&session, prompt, None).await;
        let prompted = prompted.map_err(|problem| self.masked(&session, problem))?;
        waiting.insert(prompted.turn, id);
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
        .prompt_capabilities(PromptCapabilities::new().image(true).embedded_context(true))
        .mcp_capabilities(McpCapabilities::new().http(true).sse(true))
        .session_capabilities(sessions);
    InitializeResponse::new(ProtocolVersion::V1)
        .agent_capabilities(capabilities)
        .agent_info(Implementation::new("promptd", env!("CARGO_PKG_VERSION")))
        .meta(Meta::from_iter([("steering".to_owned(), json!({ "supported": true }))]))
}
