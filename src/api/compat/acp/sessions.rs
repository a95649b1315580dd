//! The methods that open sessions, list them and end them.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol_schema::v1::{
    CloseSessionRequest, CloseSessionResponse, DeleteSessionRequest, DeleteSessionResponse, Error, ErrorCode,
    ListSessionsRequest, ListSessionsResponse, LoadSessionRequest, LoadSessionResponse, NewSessionRequest,
    NewSessionResponse, RequestId, ResumeSessionRequest, ResumeSessionResponse, SessionInfo,
};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{Connection, Tasks};
use super::follow::{follow, load};
use super::message::{meta, params, rpc_error, value};
use super::open::OpenSession;
use super::requests;
use super::running::{RunningGuard, cancelled_error};
use crate::api::http::problem::Problem;
use crate::api::sessions::permissions::PermissionView;
use crate::api::stream::lines::LineFeed;
use crate::runtime::Session;
use promptd_mask::masked;
use promptd_model::{PermissionMode, SessionRequest, SessionState, time_text};

/// Sessions in an answer to `session/list`.
const PAGE: usize = 100;

/// How long the last updates of a deleted session may take on their way to the client.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl Connection {
    /// Creates a session, answers the request, and follows the session.
    pub(super) fn new_session(self: &Arc<Self>, id: RequestId, given: Value, tasks: &mut Tasks) -> Result<(), Error> {
        let mut request = requests::session(params::<NewSessionRequest>(given)?)?;
        self.apply_defaults(&mut request);
        // Nobody wants a session that its client cannot follow.
        let permit = self.follow_permit()?;
        let running = self.running.begin(&id);
        let connection = Arc::clone(self);
        tasks.spawn(async move {
            let mut create = pin!(connection.api.create(request, None));
            let created = tokio::select! {
                created = &mut create => created,
                () = running.cancelled() => {
                    // The receiving loop notices that the client is gone.
                    drop(connection.respond(id, Err(cancelled_error())).await);
                    // With an id of the client, it may be one that was there before.
                    if let Ok(created) = create.await
                        && created.new
                    {
                        drop(connection.api.delete(created.session.id().to_string()).await);
                    }
                    return;
                }
            };
            drop(running);
            let opened = created
                .map_err(Error::from)
                .and_then(|created| connection.begin(&created.session));
            match opened {
                Ok((open, feed, answer)) => {
                    drop(connection.respond(id, Ok(answer)).await);
                    follow(Arc::clone(&connection), open, feed).await;
                }
                Err(error) => drop(connection.respond(id, Err(error)).await),
            }
            drop(permit);
        });
        Ok(())
    }

    /// Opens a new session: what follows it, and the answer to its client.
    fn begin(&self, session: &Arc<Session>) -> Result<(Arc<OpenSession>, LineFeed, Value), Error> {
        let (open, _) = self.open.open(session);
        // Where it cannot be followed, the next request opens it again.
        let feed = self.feed(session, 0).inspect_err(|_| self.open.remove(&open))?;
        let about = json!({
            "agent": session.agent(),
            "cwd": self.masked_cwd(session),
            "permission": session.request().permission.unwrap_or_default(),
        });
        let answer = value(&NewSessionResponse::new(session.id().to_string()).meta(meta(about)))?;
        Ok((open, feed, answer))
    }

    /// Adds the defaults of the connection to the request for a session.
    fn apply_defaults(&self, request: &mut SessionRequest) {
        if let Some(agent) = &self.defaults.agent {
            request.agent = Some(agent.clone());
        }
        let settings = self.api.runtime.settings();
        let name = request.agent.as_ref().unwrap_or(&settings.default_agent);
        let permission = self.defaults.permission.or(request.permission).unwrap_or_else(|| {
            if self.api.runtime.can_ask(name) {
                PermissionMode::Ask
            } else {
                PermissionMode::Bypass
            }
        });
        request.permission = Some(permission);
    }

    pub(super) fn list(&self, given: Value) -> Result<Value, Error> {
        let wanted: ListSessionsRequest = params(given)?;
        let mut sessions = self.api.runtime.sessions.all();
        if let Some(cursor) = &wanted.cursor {
            let at = sessions.iter().position(|session| session.id().as_str() == cursor);
            let at = at.ok_or_else(|| {
                let message = "cursor names no session that exists; begin again without it";
                rpc_error(ErrorCode::InvalidParams, message)
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
        let cwd = self.masked_cwd(session);
        let about = json!({ "agent": session.agent(), "status": state.status() });
        SessionInfo::new(session.id().to_string(), cwd)
            .updated_at(time_text(state.updated_at.unwrap_or_else(|| session.created_at())))
            .meta(meta(about))
    }

    pub(super) async fn resume(self: &Arc<Self>, given: Value, tasks: &mut Tasks) -> Result<Value, Error> {
        let wanted: ResumeSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        self.check_cwd(&session, &wanted.cwd)?;
        requests::check_reopen(session.request(), &wanted.additional_directories, wanted.mcp_servers)?;
        self.join(&session, tasks).await?;
        value(&ResumeSessionResponse::new())
    }

    pub(super) fn load(self: &Arc<Self>, id: RequestId, given: Value, tasks: &mut Tasks) -> Result<(), Error> {
        let wanted: LoadSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        self.check_cwd(&session, &wanted.cwd)?;
        requests::check_reopen(session.request(), &wanted.additional_directories, wanted.mcp_servers)?;
        let answer = value(&LoadSessionResponse::new())?;
        let permit = self.follow_permit()?;
        let (open, first) = self.open.open(&session);
        let running = self.running.begin(&id);
        let connection = Arc::clone(self);
        tasks.spawn(async move {
            load(connection, open, first, (id, running), answer).await;
            drop(permit);
        });
        Ok(())
    }

    /// The session's working directory without secrets.
    fn masked_cwd(&self, session: &Session) -> String {
        let cwd = session.cwd().display().to_string();
        let masker = self.api.runtime.masks.of_session(session);
        masked(masker.as_deref(), &cwd)
    }

    /// A session keeps the working directory that it was created with.
    fn check_cwd(&self, session: &Session, cwd: &Path) -> Result<(), Problem> {
        let (own, shown) = (session.cwd(), self.masked_cwd(session));
        let is_same = || {
            cwd.canonicalize()
                .is_ok_and(|cwd| own.canonicalize().is_ok_and(|own| own == cwd))
        };
        let as_created = session
            .request()
            .cwd
            .as_deref()
            .is_some_and(|asked| cwd == Path::new(asked));
        if cwd == own || cwd == Path::new(&shown) || as_created || is_same() {
            return Ok(());
        }
        let detail = format!(
            "cwd is {}, and the session works in {shown}; open it with that, or begin another one with session/new",
            cwd.display()
        );
        Err(Problem::bad_request("invalid_field", detail).with("field", "cwd"))
    }

    /// Interrupts the session, and closes it when its turn has ended.
    pub(super) async fn close(self: &Arc<Self>, id: RequestId, given: Value, tasks: &mut Tasks) -> Result<(), Error> {
        let wanted: CloseSessionRequest = params(given)?;
        let session = self.find(&wanted.session_id.0)?;
        let current = session.latest().current().map(|turn| turn.turn);
        let cancelled = self.cancel(&session).await;
        cancelled.map_err(|problem| self.masked(&session, problem))?;
        let answer = value(&CloseSessionResponse::new())?;
        let running = self.running.begin(&id);
        let connection = Arc::clone(self);
        tasks.spawn(async move {
            let has_ended = |state: &Arc<SessionState>| {
                let turn = current.and_then(|current| state.turn(current));
                turn.is_none_or(|turn| turn.ended().is_some())
            };
            let mut changes = session.changes();
            let mut close = pin!(async {
                // It does end: an agent that ignores an interrupt is killed.
                drop(changes.wait_for(has_ended).await);
                connection.open.close(&session).await;
            });
            connection.answer_when(id, &running, &mut close, |()| Ok(answer)).await;
        });
        Ok(())
    }

    /// Deletes a session; one that does not exist is deleted already.
    pub(super) fn delete(self: &Arc<Self>, id: RequestId, given: Value, tasks: &mut Tasks) -> Result<(), Error> {
        let wanted: DeleteSessionRequest = params(given)?;
        let running = self.running.begin(&id);
        let connection = Arc::clone(self);
        tasks.spawn(async move {
            let answer = |deleted: Result<(), Problem>| match deleted {
                Err(problem) if problem.code() != "session_not_found" => Err(problem.into()),
                Ok(()) | Err(_) => value(&DeleteSessionResponse::new()),
            };
            let mut delete = pin!(connection.delete_now(&wanted.session_id.0));
            connection.answer_when(id, &running, &mut delete, answer).await;
        });
        Ok(())
    }

    /// Answers a request when its work is done, or when its client cancels it. The work is done all the same.
    async fn answer_when<Work: Future + Unpin>(
        &self,
        id: RequestId,
        running: &RunningGuard,
        work: &mut Work,
        answer: impl FnOnce(Work::Output) -> Result<Value, Error>,
    ) {
        // The receiving loop notices that the client is gone.
        tokio::select! {
            done = &mut *work => drop(self.respond(id, answer(done)).await),
            () = running.cancelled() => {
                drop(self.respond(id, Err(cancelled_error())).await);
                let _done = work.await;
            }
        }
    }

    async fn delete_now(&self, id: &str) -> Result<(), Problem> {
        if let Ok(session) = self.api.runtime.sessions.get(id) {
            // The client's prompts are answered while the journal still exists. A session that cannot be stopped or followed
            // is deleted all the same; its follower then answers the prompts.
            drop(self.api.stop(&session, Some(0.0)).await);
            drop(tokio::time::timeout(CLOSE_TIMEOUT, self.open.close(&session)).await);
        }
        self.api.delete(id.to_owned()).await
    }

    /// Opens a session that is not open yet, from its last record on, with the permissions that its agent waits for.
    pub(super) async fn join(
        self: &Arc<Self>,
        session: &Arc<Session>,
        tasks: &mut Tasks,
    ) -> Result<Arc<OpenSession>, Error> {
        let state = session.latest();
        let (open, new) = self.open.open(session);
        if new {
            let permit = self.follow_permit().inspect_err(|_| self.open.remove(&open))?;
            self.follow(&open, state.last_seq, permit, tasks)?;
            let masker = self.api.runtime.masks.of_session(session);
            for (permission, _) in state.pending_permissions() {
                let permission = PermissionView::masked(permission, masker.as_deref());
                // The receiving loop notices that the client is gone.
                drop(self.request_permission(session, permission).await);
            }
        }
        Ok(open)
    }

    /// Sends the updates of an open session after a record.
    fn follow(
        self: &Arc<Self>,
        open: &Arc<OpenSession>,
        after: u64,
        permit: OwnedSemaphorePermit,
        tasks: &mut Tasks,
    ) -> Result<(), Error> {
        // Where it cannot be followed, the next request opens it again.
        let feed = self
            .feed(&open.session, after)
            .inspect_err(|_| self.open.remove(open))?;
        let (connection, open) = (Arc::clone(self), Arc::clone(open));
        tasks.spawn(async move {
            follow(connection, open, feed).await;
            drop(permit);
        });
        Ok(())
    }
}
