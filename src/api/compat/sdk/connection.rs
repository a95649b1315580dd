//! `/ws`: messages of the shared session out, the user's messages in.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::SplitStream;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::frames::{Frames, Message, message};
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::ProblemDetails;
use crate::api::stream::feed::{Feed, Step, Until, is_down};
use crate::api::stream::framer::Messages;
use crate::api::stream::ws::{Client, Gone, next_text, prepare, shutting_down, upgrade_required};
use crate::api::{Api, Shared};
use crate::runtime::Session;
use promptd_agents::updates;
use promptd_model::View;

/// One client.
struct Connection {
    api: Shared,
    client: Client,
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
        (status = 101, description = "Out: `{\"type\":\"connected\"}`, `{\"type\":\"sdk_message\",\"data\"}`, `{\"type\":\"info\",\"data\"}`, `{\"type\":\"error\",\"error\"}`, with `seq` and `session`; in: `{\"type\":\"user_message\",\"data\":<SDKUserMessage>}`, `{\"type\":\"interrupt\"}`"),
        (status = 426, description = "`upgrade_required`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn ws(
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let query = query.only(&["session", "after"])?;
    let after = query.number("after")?;
    let chosen = query.text("session").map(|id| api.runtime.session(id)).transpose()?;
    let session = chosen.clone().or_else(|| api.shared());
    if let (Some(session), Some(after)) = (&session, after) {
        // Whoever asks for what is not there hears of it before anything else.
        drop(api.runtime.follow(session, after)?);
    }
    let upgrade = upgrade.map_err(|rejection| upgrade_required(&rejection))?;
    let upgrade = prepare(upgrade, &headers, api.body_limit());
    Ok(upgrade.on_upgrade(move |socket| async move {
        let open = api.sockets.subscribe();
        let mut shutdown = api.runtime.shutdown();
        let (client, inbox) = Client::new(socket);
        let api = Arc::clone(&api);
        let connection = Arc::new(Connection { api, client, chosen });
        tokio::select! {
            // Who has gone needs no answer.
            _gone = connection.serve(inbox, session, after) => {}
            () = connection.client.ping(connection.api.runtime.breaks()) => {}
            () = is_down(&mut shutdown) => connection.client.close(shutting_down()).await,
        }
        drop(open);
    }))
}

impl Api {
    /// The session that clients share, if there is one yet.
    fn shared(&self) -> Option<Arc<Session>> {
        let id = self.runtime.sdk().session.clone()?;
        self.runtime.session(id.as_str()).ok()
    }

    /// The same; begun where there is none.
    async fn begin_shared(&self) -> Result<Arc<Session>, Problem> {
        let _one = self.sharing.lock().await;
        if let Some(session) = self.shared() {
            return Ok(session);
        }
        let created = self.create(self.runtime.sdk().config.request(), None).await?;
        let id = created.session.id().clone();
        self.runtime.share_sdk_session(id).await?;
        Ok(created.session)
    }
}

impl Connection {
    async fn serve(
        self: &Arc<Self>,
        inbox: SplitStream<WebSocket>,
        session: Option<Arc<Session>>,
        after: Option<u64>,
    ) -> Result<(), Gone> {
        let last = session.as_ref().map(|session| session.latest().last_seq);
        let id = session.as_ref().map(|session| session.id().as_str());
        let connected = json!({ "type": "connected", "session": id, "seq": last });
        self.client.say(connected.to_string()).await?;
        tokio::select! {
            gone = self.hear(inbox) => gone,
            gone = self.tell(session, after.or(last).unwrap_or(0)) => gone,
        }
    }

    /// Takes messages until the client has gone.
    async fn hear(&self, mut inbox: SplitStream<WebSocket>) -> Result<(), Gone> {
        while let Some(text) = next_text(&self.client, &mut inbox).await {
            let taken = match text.and_then(|text| message(&text)) {
                Ok(message) => self.take(message).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = taken {
                let session = self.chosen.clone().or_else(|| self.api.shared());
                let problem = self.api.hide(session.as_deref(), problem);
                let error = json!({ "type": "error", "error": problem.detail(), "code": problem.code() });
                self.client.say(error.to_string()).await?;
            }
        }
        Err(Gone)
    }

    async fn take(&self, message: Message) -> Result<(), Problem> {
        match message {
            Message::User(text) => {
                let session = match &self.chosen {
                    Some(session) => Arc::clone(session),
                    None => self.api.begin_shared().await?,
                };
                self.api.prompt(&session, text, None).await.map(drop)
            }
            Message::Interrupt => match self.chosen.clone().or_else(|| self.api.shared()) {
                Some(session) => match self.api.interrupt(&session).await {
                    // What has ended needs no interrupt.
                    Err(problem) if problem.code() != "not_running" => Err(problem),
                    Ok(()) | Err(_) => Ok(()),
                },
                None => Ok(()),
            },
        }
    }

    /// Tells of the session, and of the one that follows it when another is begun.
    async fn tell(self: &Arc<Self>, mut current: Option<Arc<Session>>, after: u64) -> Result<(), Gone> {
        let mut changes = self.api.runtime.sdk_changes();
        let mut followed = JoinSet::new();
        if let Some(session) = &current {
            followed.spawn(follow(Arc::clone(self), Arc::clone(session), after));
        }
        loop {
            let shared = self.api.shared().filter(|_| self.chosen.is_none());
            let is_current = |shared: &Arc<Session>| current.as_ref().is_some_and(|known| Arc::ptr_eq(known, shared));
            if let Some(new) = shared.filter(|shared| !is_current(shared)) {
                // What a session says before anybody asked it is nothing: all of it is new.
                followed.spawn(follow(Arc::clone(self), Arc::clone(&new), 0));
                current = Some(new);
            }
            tokio::select! {
                Some(ended) = followed.join_next() => if let Ok(Err(gone)) = ended { return Err(gone) },
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    /// Sends frames until nothing follows.
    async fn send(&self, feed: &mut Feed, frames: &mut Frames) -> Result<(), Gone> {
        let mut messages = Messages::default();
        loop {
            match feed.next(messages.seq()).await {
                Ok(Step::Piece(piece)) => {
                    for line in messages.split(&piece) {
                        for frame in frames.record(&line) {
                            self.client.say(frame).await?;
                        }
                    }
                    self.client.is_heard();
                }
                // A feed of the journal itself gives no lines.
                Ok(Step::Lines(_) | Step::Silence) => {}
                Ok(Step::End | Step::Shutdown) => return Ok(()),
                Err(error) => {
                    tracing::error!(%error, cause = %error.source, "an event stream breaks off");
                    let error = json!({ "type": "error", "error": "the journal cannot be read" });
                    self.client.say(error.to_string()).await?;
                    return Err(Gone);
                }
            }
        }
    }
}

/// Tells all of a session behind a record, for as long as it is there.
async fn follow(connection: Arc<Connection>, session: Arc<Session>, after: u64) -> Result<(), Gone> {
    let runtime = &connection.api.runtime;
    let partial = runtime.sdk().config.include_partial_messages;
    let mut frames = Frames::new(session.id().as_str(), after, partial);
    // What is open at the record is read from its beginning.
    let begin = updates::replay_start(&session.latest(), after);
    let feed = Feed::open(runtime, &session, begin, Until::Deleted, View::Raw);
    let mut feed = match feed {
        Ok(feed) => feed,
        Err(error) => {
            let problem = connection.api.hide(Some(&session), error.into());
            let error: Value = json!({ "type": "error", "error": problem.detail(), "code": problem.code() });
            return connection.client.say(error.to_string()).await;
        }
    };
    connection.send(&mut feed, &mut frames).await
}
