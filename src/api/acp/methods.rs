//! What a client may ask for.

use std::sync::{Arc, PoisonError};

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1::{
    AGENT_METHOD_NAMES as METHODS, AgentCapabilities, AuthenticateResponse, CancelNotification, Error, ErrorCode,
    Implementation, InitializeResponse, ListSessionsRequest, ListSessionsResponse, LoadSessionRequest,
    LoadSessionResponse, McpCapabilities, NewSessionRequest, NewSessionResponse, PromptCapabilities, PromptRequest,
    RequestId, ResumeSessionRequest, ResumeSessionResponse, SessionCapabilities, SessionInfo, SessionListCapabilities,
    SessionResumeCapabilities,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::problem::Problem;
use super::super::socket::Gone;
use super::super::view::time;
use super::follow::{follow, load};
use super::message::{params, told};
use super::{Connection, Open, words};
use crate::model::{PermissionMode, SessionRequest};
use crate::runtime::Session;

/// Sessions in an answer to `session/list`.
const PAGE: usize = 100;

impl Connection {
    /// Does what a request asks for. `session/prompt` and `session/load` are answered later, by who follows the session.
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
            // What has ended by itself meanwhile needs no interrupt, and nobody waits for an answer.
            drop(self.api.interrupt(&session).await);
        }
    }

    async fn new_session(self: &Arc<Self>, given: Value, followers: &mut JoinSet<()>) -> Result<Value, Error> {
        let mut request = words::session(params::<NewSessionRequest>(given)?).map_err(Problem::json_rpc)?;
        self.fill_in(&mut request);
        let created = self.api.create(request, None).await.map_err(Problem::json_rpc)?;
        let session = created.session;
        self.open(&session, 0, followers)?;
        let about = json!({
            "agent": session.agent(),
            "permission": session.request().permission.unwrap_or_default(),
        });
        value(&NewSessionResponse::new(session.id().to_string()).meta(words::meta(about)))
    }

    /// Adds what the connection wishes to what a session is to be.
    fn fill_in(&self, request: &mut SessionRequest) {
        if let Some(agent) = &self.wishes.agent {
            request.agent = Some(agent.clone());
        }
        let settings = self.api.runtime.settings();
        let name = request.agent.as_ref().unwrap_or(&settings.default_agent);
        let permission = self.wishes.permission.or(request.permission).unwrap_or_else(|| {
            let agents = self.api.runtime.agents();
            let asks = agents
                .iter()
                .any(|agent| agent.name == *name && agent.capabilities.permissions);
            if asks {
                PermissionMode::Ask
            } else {
                PermissionMode::Bypass
            }
        });
        request.permission = Some(permission);
    }

    fn list(&self, given: Value) -> Result<Value, Error> {
        let wanted: ListSessionsRequest = params(given)?;
        let mut sessions = self.api.runtime.sessions();
        if let Some(cursor) = &wanted.cursor {
            let at = sessions.iter().position(|session| session.id().as_str() == cursor);
            let at = at.ok_or_else(|| {
                let message = "cursor names no session that exists; begin again without it";
                told(ErrorCode::InvalidParams, message)
            })?;
            sessions.drain(..=at);
        }
        if let Some(cwd) = &wanted.cwd {
            sessions.retain(|session| session.cwd() == cwd);
        }
        let more = sessions.len() > PAGE;
        sessions.truncate(PAGE);
        let next = sessions.last().filter(|_| more).map(|session| session.id().to_string());
        let sessions = sessions.iter().map(|session| self.info(session)).collect();
        value(&ListSessionsResponse::new(sessions).next_cursor(next))
    }

    fn info(&self, session: &Session) -> SessionInfo {
        let state = session.latest();
        let cwd = session.cwd().display().to_string();
        let masker = self.api.runtime.masker(session);
        let cwd = masker.map_or_else(|| cwd.clone(), |masker| masker.text(&cwd).into_owned());
        let about = json!({ "agent": session.agent(), "status": state.status() });
        SessionInfo::new(session.id().to_string(), cwd)
            .updated_at(time(state.updated_at.unwrap_or_else(|| session.created_at())))
            .meta(words::meta(about))
    }

    async fn resume(self: &Arc<Self>, given: Value, followers: &mut JoinSet<()>) -> Result<Value, Error> {
        let wanted: ResumeSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        self.join(&session, followers).await?;
        value(&ResumeSessionResponse::new())
    }

    fn load(self: &Arc<Self>, id: RequestId, given: Value, followers: &mut JoinSet<()>) -> Result<(), Error> {
        let wanted: LoadSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        let answer = value(&LoadSessionResponse::new())?;
        let (open, first) = self.opened(&session);
        followers.spawn(load(Arc::clone(self), open, first, id, answer));
        Ok(())
    }

    async fn prompt(self: &Arc<Self>, id: RequestId, given: Value, followers: &mut JoinSet<()>) -> Result<(), Error> {
        let wanted: PromptRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        let text = words::prompt(wanted.prompt)?;
        let open = self.join(&session, followers).await?;
        let mut awaited = open.awaited.lock().await;
        let prompted = self.api.prompt(&session, text, None).await;
        let prompted = prompted.map_err(|problem| self.api.hide(Some(&session), problem).json_rpc())?;
        awaited.insert(prompted.turn, id);
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Arc<Session>, Error> {
        self.api
            .runtime
            .session(id)
            .map_err(|error| Problem::from(error).json_rpc())
    }

    /// Opens a session that is not open yet, from now on; with what its agent waits on.
    async fn join(self: &Arc<Self>, session: &Arc<Session>, followers: &mut JoinSet<()>) -> Result<Arc<Open>, Error> {
        let state = session.latest();
        let (open, new) = self.opened(session);
        if new {
            self.follow(&open, state.last_seq, followers)?;
            for (permission, _) in state.pending_permissions() {
                // A client that has gone is noticed by who reads what it says.
                drop(self.ask(session, permission.clone()).await);
            }
        }
        Ok(open)
    }

    /// Opens a session and tells what comes after a record.
    fn open(self: &Arc<Self>, session: &Arc<Session>, after: u64, followers: &mut JoinSet<()>) -> Result<(), Error> {
        let (open, _) = self.opened(session);
        self.follow(&open, after, followers)
    }

    fn follow(self: &Arc<Self>, open: &Arc<Open>, after: u64, followers: &mut JoinSet<()>) -> Result<(), Error> {
        let feed = self.feed(&open.session, after).map_err(Problem::json_rpc)?;
        followers.spawn(follow(Arc::clone(self), Arc::clone(open), feed));
        Ok(())
    }

    /// The open session, and whether it has just become so.
    fn opened(&self, session: &Arc<Session>) -> (Arc<Open>, bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.get(session.id().as_str());
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.session, session)) {
            return (Arc::clone(known), false);
        }
        let new = Arc::new(Open {
            session: Arc::clone(session),
            awaited: tokio::sync::Mutex::default(),
        });
        open.insert(session.id().to_string(), Arc::clone(&new));
        (new, true)
    }
}

fn initialize() -> InitializeResponse {
    let sessions = SessionCapabilities::new()
        .list(SessionListCapabilities::new())
        .resume(SessionResumeCapabilities::new());
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
