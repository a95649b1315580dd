//! `/ws`: messages of the shared session out, the user's messages in.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use tokio::task::JoinSet;

use super::frames::{Frames, Message, message};
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::state::{AppState, SharedState};
use crate::api::stream::feed::{Feed, Until};
use crate::api::stream::lines::{LineFeed, LineStep};
use crate::api::stream::websocket::{CloseFrame, Disconnected, Receiver, Sender, Upgrade};
use crate::runtime::{NewPrompt, Session};
use promptd_agents::updates;
use promptd_model::View;

/// One client.
struct Connection {
    api: SharedState,
    sender: Arc<Sender>,
    /// The session it asked for; the shared one where it did not.
    chosen: Option<Arc<Session>>,
}

/// The Claude Agent SDK's messages over WebSocket.
#[utoipa::path(get, path = "/ws", tag = "elsewhere",
    params(
        ("session" = Option<String>, Query, description = "A session of the agent `claude`; the one that all clients share when absent"),
        ("after" = Option<u64>, Query, description = "Begin after the frame with this `seq`; with what comes from now on when absent"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`promptd.bearer.<token>`, for browsers"),
    ),
    responses(
        (status = 101, description = "Out: `{\"type\":\"connected\"}`, `{\"type\":\"sdk_message\",\"data\"}`, `{\"type\":\"info\",\"data\"}`, `{\"type\":\"error\",\"error\"}`, with `seq` and `session`; in: `{\"type\":\"user_message\",\"data\":<SDKUserMessage>,\"fresh\"}`, `{\"type\":\"interrupt\"}`"),
        (status = 426, description = "`upgrade_required`"),
    ))]
pub(crate) async fn ws(
    State(api): State<SharedState>,
    query: Query,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let query = query.only(&["session", "after"])?;
    let after = query.number("after")?;
    let chosen = query
        .text("session")
        .map(|id| api.runtime.sessions.get(id))
        .transpose()?;
    let session = chosen.clone().or_else(|| api.shared_session());
    if let (Some(session), Some(after)) = (&session, after) {
        // A cursor outside the journal is refused before the upgrade.
        drop(api.runtime.follow(session, after)?);
    }
    Ok(upgrade?.serve(&Arc::clone(&api), async move |sender, receiver| {
        let connection = Arc::new(Connection { api, sender, chosen });
        connection.serve(receiver, session, after).await
    }))
}

impl AppState {
    /// The session that clients share, if there is one yet.
    fn shared_session(&self) -> Option<Arc<Session>> {
        let id = self.runtime.sdk.get().session.clone()?;
        self.runtime.sessions.get(id.as_str()).ok()
    }

    /// The same; created where there is none.
    async fn get_or_create_shared_session(&self) -> Result<Arc<Session>, Problem> {
        let _locked = self.sdk_session_lock.lock().await;
        if let Some(session) = self.shared_session() {
            return Ok(session);
        }
        let created = self.create(self.runtime.sdk.get().config.request(), None).await?;
        let id = created.session.id().clone();
        self.runtime.share_sdk_session(id).await?;
        Ok(created.session)
    }
}

impl Connection {
    async fn serve(
        self: &Arc<Self>,
        receiver: Receiver,
        session: Option<Arc<Session>>,
        after: Option<u64>,
    ) -> Result<CloseFrame, Disconnected> {
        let last = session.as_ref().map(|session| session.latest().last_seq);
        let id = session.as_ref().map(|session| session.id().as_str());
        let connected = json!({ "type": "connected", "session": id, "seq": last });
        self.sender.send_text(connected.to_string()).await?;
        tokio::select! {
            closed = self.receive(receiver) => closed,
            disconnected = self.follow_sessions(session, after.or(last).unwrap_or(0)) => Err(disconnected),
        }
    }

    /// The session of this client, if there is one yet.
    fn session(&self) -> Option<Arc<Session>> {
        self.chosen.clone().or_else(|| self.api.shared_session())
    }

    /// Handles messages until the client is gone.
    async fn receive(&self, mut receiver: Receiver) -> Result<CloseFrame, Disconnected> {
        loop {
            let handled = match receiver.next_text().await?.and_then(|text| message(&text)) {
                Ok(message) => self.handle(message).await,
                Err(problem) => Err(problem),
            };
            receiver.release_memory();
            if let Err(problem) = handled {
                self.send_problem(self.session().as_deref(), problem).await?;
            }
        }
    }

    async fn handle(&self, message: Message) -> Result<(), Problem> {
        match message {
            Message::User { content, fresh } => {
                let session = match &self.chosen {
                    Some(session) => Arc::clone(session),
                    None => self.api.get_or_create_shared_session().await?,
                };
                let prompt = NewPrompt {
                    fresh,
                    ..NewPrompt::from(content)
                };
                self.api.prompt(&session, prompt, None).await.map(drop)
            }
            Message::Interrupt => match self.session() {
                Some(session) => self.api.interrupt_if_running(&session, BTreeSet::new()).await,
                None => Ok(()),
            },
        }
    }

    async fn send_problem(&self, session: Option<&Session>, problem: Problem) -> Result<(), Disconnected> {
        let problem = self.api.masked(session, problem);
        let error = json!({ "type": "error", "error": problem.detail(), "code": problem.code() });
        self.sender.send_text(error.to_string()).await
    }

    /// Sends the records of the session, and of each shared session that replaces it, until the client is gone.
    async fn follow_sessions(self: &Arc<Self>, mut current: Option<Arc<Session>>, after: u64) -> Disconnected {
        let mut changes = self.api.runtime.sdk.changes();
        let mut followed = JoinSet::new();
        if let Some(session) = &current {
            followed.spawn(follow(Arc::clone(self), Arc::clone(session), after));
        }
        loop {
            let shared = self.api.shared_session().filter(|_| self.chosen.is_none());
            let is_current = |shared: &Arc<Session>| current.as_ref().is_some_and(|known| Arc::ptr_eq(known, shared));
            if let Some(new) = shared.filter(|shared| !is_current(shared)) {
                // A new session is sent from its beginning.
                followed.spawn(follow(Arc::clone(self), Arc::clone(&new), 0));
                current = Some(new);
            }
            tokio::select! {
                Some(ended) = followed.join_next() => if let Ok(Err(disconnected)) = ended { return disconnected },
                changed = changes.changed() => if changed.is_err() { return Disconnected },
            }
        }
    }

    /// Sends frames until the feed ends.
    async fn send_frames(&self, session: &Arc<Session>, feed: Feed, frames: &mut Frames) -> Result<(), Disconnected> {
        let mut feed = LineFeed::of(feed, Frames::wants);
        loop {
            // After another session has replaced this one, nothing new begins here.
            if self.session().is_none_or(|current| !Arc::ptr_eq(&current, session)) {
                feed.end_when_settled();
            }
            match feed.next().await {
                Ok(LineStep::Lines(lines)) => {
                    for frame in lines.iter().flat_map(|line| frames.record(&line.text)) {
                        self.sender.send_text(frame).await?;
                    }
                    self.sender.record_activity();
                }
                Ok(LineStep::Silence) => {}
                Ok(LineStep::End | LineStep::Shutdown) => return Ok(()),
                Err(_) => {
                    let error = json!({ "type": "error", "error": "the journal cannot be read" });
                    self.sender.send_text(error.to_string()).await?;
                    return Err(Disconnected);
                }
            }
        }
    }
}

/// Sends the frames of a session's records after a record, until the session is deleted.
async fn follow(connection: Arc<Connection>, session: Arc<Session>, after: u64) -> Result<(), Disconnected> {
    let runtime = &connection.api.runtime;
    let partial = runtime.sdk.get().config.include_partial_messages;
    let mut frames = Frames::new(session.id().as_str(), after, partial);
    // A line that is unfinished at the cursor is read from its beginning.
    let begin = updates::replay_start(&session.latest(), after);
    match Feed::open(runtime, &session, begin, Until::Deleted, View::Raw) {
        Ok(feed) => connection.send_frames(&session, feed, &mut frames).await,
        Err(error) => connection.send_problem(Some(&session), error.into()).await,
    }
}
