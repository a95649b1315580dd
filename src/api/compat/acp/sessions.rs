//! The methods that open sessions, list them and end them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol_schema::v1::{
    CloseSessionRequest, CloseSessionResponse, DeleteSessionRequest, DeleteSessionResponse, Error, ErrorCode,
    ListSessionsRequest, ListSessionsResponse, LoadSessionRequest, LoadSessionResponse, NewSessionRequest,
    NewSessionResponse, RequestId, ResumeSessionRequest, ResumeSessionResponse, SessionInfo,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::follow::{follow, load};
use super::message::{params, told};
use super::methods::value;
use super::{Connection, Open, words};
use crate::api::http::problem::Problem;
use crate::api::sessions::permissions::PermissionView;
use crate::api::sessions::view::time;
use crate::runtime::Session;
use promptd_model::{PermissionMode, SessionRequest, SessionState};

/// Sessions in an answer to `session/list`.
const PAGE: usize = 100;

/// How long the end of a session that is deleted may take on its way to the client.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) async fn new_session(
        self: &Arc<Self>,
        given: Value,
        followers: &mut JoinSet<()>,
    ) -> Result<Value, Error> {
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

    pub(super) fn list(&self, given: Value) -> Result<Value, Error> {
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
        let cwd = self.shown_place(session);
        let about = json!({ "agent": session.agent(), "status": state.status() });
        SessionInfo::new(session.id().to_string(), cwd)
            .updated_at(time(state.updated_at.unwrap_or_else(|| session.created_at())))
            .meta(words::meta(about))
    }

    pub(super) async fn resume(self: &Arc<Self>, given: Value, followers: &mut JoinSet<()>) -> Result<Value, Error> {
        let wanted: ResumeSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        self.check_place(&session, &wanted.cwd)?;
        words::reopen(session.request(), &wanted.additional_directories, wanted.mcp_servers)
            .map_err(Problem::json_rpc)?;
        self.join(&session, followers).await?;
        value(&ResumeSessionResponse::new())
    }

    pub(super) fn load(
        self: &Arc<Self>,
        id: RequestId,
        given: Value,
        followers: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let wanted: LoadSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        self.check_place(&session, &wanted.cwd)?;
        words::reopen(session.request(), &wanted.additional_directories, wanted.mcp_servers)
            .map_err(Problem::json_rpc)?;
        let answer = value(&LoadSessionResponse::new())?;
        let (open, first) = self.opened(&session);
        followers.spawn(load(Arc::clone(self), open, first, id, answer));
        Ok(())
    }

    /// The session's working directory as clients are told of it.
    fn shown_place(&self, session: &Session) -> String {
        let cwd = session.cwd().display().to_string();
        let masker = self.api.runtime.masker(session);
        masker.map_or_else(|| cwd.clone(), |masker| masker.text(&cwd).into_owned())
    }

    /// A session works where it was created to, whoever opens it again.
    fn check_place(&self, session: &Session, cwd: &Path) -> Result<(), Error> {
        let (own, shown) = (session.cwd(), self.shown_place(session));
        let is_same = || {
            cwd.canonicalize()
                .is_ok_and(|cwd| own.canonicalize().is_ok_and(|own| own == cwd))
        };
        if cwd == own || cwd == Path::new(&shown) || is_same() {
            return Ok(());
        }
        let detail = format!(
            "cwd is {}, and the session works in {shown}; open it with that, or begin another one with session/new",
            cwd.display()
        );
        Err(Problem::bad_request("invalid_field", detail)
            .with("field", "cwd")
            .json_rpc())
    }

    /// Ends the session's work, and tells no more of it then.
    pub(super) async fn close(
        self: &Arc<Self>,
        id: RequestId,
        given: Value,
        followers: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let wanted: CloseSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        let current = session.latest().current().map(|turn| turn.turn);
        let cancelled = self.cancel(&session).await;
        cancelled.map_err(|problem| self.api.hide(Some(&session), problem).json_rpc())?;
        let answer = value(&CloseSessionResponse::new())?;
        let connection = Arc::clone(self);
        followers.spawn(async move {
            let has_ended = |state: &Arc<SessionState>| {
                let turn = current.and_then(|current| state.turn(current));
                turn.is_none_or(|turn| turn.ended().is_some())
            };
            let mut changes = session.changes();
            // It ends: an agent that does not heed an interrupt is killed. And the session outlives its own changes.
            drop(changes.wait_for(has_ended).await);
            connection.let_go(&session).await;
            // Who has gone is noticed by who reads what it says.
            drop(connection.respond(id, Ok(answer)).await);
        });
        Ok(())
    }

    /// Forgets a session; one that there is not is forgotten already.
    pub(super) fn delete(
        self: &Arc<Self>,
        id: RequestId,
        given: Value,
        followers: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let wanted: DeleteSessionRequest = params(given)?;
        let connection = Arc::clone(self);
        followers.spawn(async move {
            let answer = match connection.delete_now(&wanted.session_id.0).await {
                Err(problem) if problem.code() != "session_not_found" => Err(problem.json_rpc()),
                Ok(()) | Err(_) => value(&DeleteSessionResponse::new()),
            };
            // Who has gone is noticed by who reads what it says.
            drop(connection.respond(id, answer).await);
        });
        Ok(())
    }

    async fn delete_now(&self, id: &str) -> Result<(), Problem> {
        if let Ok(session) = self.api.runtime.session(id) {
            // What the client waits for is answered while there still is a journal that tells it. A session that cannot
            // be stopped, or not be told of, is deleted all the same; who follows it then tells the client.
            drop(self.api.stop(&session, Some(0.0)).await);
            drop(tokio::time::timeout(LAST_WORDS, self.let_go(&session)).await);
        }
        self.api.delete(id.to_owned()).await
    }

    pub(super) fn find(&self, id: &str) -> Result<Arc<Session>, Error> {
        self.api
            .runtime
            .session(id)
            .map_err(|error| Problem::from(error).json_rpc())
    }

    /// Opens a session that is not open yet, from now on; with what its agent waits on.
    pub(super) async fn join(
        self: &Arc<Self>,
        session: &Arc<Session>,
        followers: &mut JoinSet<()>,
    ) -> Result<Arc<Open>, Error> {
        let state = session.latest();
        let (open, new) = self.opened(session);
        if new {
            self.follow(&open, state.last_seq, followers)?;
            let masker = self.api.runtime.masker(session);
            for (permission, _) in state.pending_permissions() {
                let permission = PermissionView::hidden(permission, masker.as_deref());
                // A client that has gone is noticed by who reads what it says.
                drop(self.ask(session, permission).await);
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
        let feed = self.feed(&open.session, after).map_err(|problem| {
            // Nobody follows it: whoever comes next opens it anew.
            self.forget(open);
            problem.json_rpc()
        })?;
        followers.spawn(follow(Arc::clone(self), Arc::clone(open), feed));
        Ok(())
    }
}
