//! What is said of a session that the client has opened: its journal in ACP's words, and the answers to its prompts.

use std::sync::Arc;

use agent_client_protocol_schema::v1::{
    CLIENT_METHOD_NAMES as CLIENT, Error, ErrorCode, RequestId, SessionNotification, SessionUpdate,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::message::{notification, told};
use super::{Connection, Open, words};
use crate::api::http::problem::Problem;
use crate::api::stream::feed::{Feed, Step, Until};
use crate::api::stream::ws::Gone;
use crate::runtime::{RuntimeError, Session};
use promptd_agents::updates::Line;
use promptd_journal::ReadError;
use promptd_model::{Body, TurnEnded, View};
use promptd_model::{RecordKind, decode};

/// For what ACP has no word for.
const RAW: &str = "_promptd/raw";

/// A line of `view=updates` that is an update.
#[derive(Deserialize)]
struct UpdateLine<'a> {
    seq: u64,
    turn: u32,
    time: String,
    #[serde(borrow)]
    update: &'a RawValue,
}

/// Tells what comes, until the session or the client has gone, or the client wants to hear no more of it.
pub(super) async fn follow(connection: Arc<Connection>, open: Arc<Open>, mut feed: Feed) {
    // Who has gone needs no answer, and is noticed by who reads what it says.
    let ended = tokio::select! {
        told = connection.tell(&open, &mut feed) => told.is_ok(),
        () = open.closed.notified() => false,
    };
    if ended {
        connection.give_up(&open).await;
    }
}

/// Tells all that has been, answers the request, and goes on with what comes unless somebody does so already.
pub(super) async fn load(connection: Arc<Connection>, open: Arc<Open>, first: bool, id: RequestId, answer: Value) {
    let replay = async {
        let runtime = &connection.api.runtime;
        let mut feed = Feed::open(runtime, &open.session, 0, Until::Now, View::Updates).map_err(Problem::from)?;
        match connection.tell(&open, &mut feed).await {
            Ok(told) => told.map_err(RuntimeError::from)?,
            // Who has gone needs no answer.
            Err(Gone) => return Ok(None),
        }
        let passed = feed.passed().unwrap_or(0);
        let next = first.then(|| connection.feed(&open.session, passed)).transpose()?;
        Ok(Some(next))
    };
    match replay.await {
        Ok(None) => {}
        Ok(Some(next)) => {
            drop(connection.respond(id, Ok(answer)).await);
            if let Some(feed) = next {
                follow(connection, open, feed).await;
            }
        }
        Err(problem) => {
            if first {
                // Nobody follows it: whoever hears of that and prompts opens it anew.
                connection.give_up(&open).await;
            }
            let problem: Problem = connection.api.hide(Some(&open.session), problem);
            drop(connection.respond(id, Err(problem.json_rpc())).await);
        }
    }
}

impl Connection {
    /// A feed of what comes after a record.
    pub(super) fn feed(&self, session: &Arc<Session>, after: u64) -> Result<Feed, Problem> {
        Ok(Feed::open(
            &self.api.runtime,
            session,
            after,
            Until::Deleted,
            View::Updates,
        )?)
    }

    /// Tells what a feed gives until it ends, or breaks off.
    async fn tell(&self, open: &Open, feed: &mut Feed) -> Result<Result<(), ReadError>, Gone> {
        let mut seen = 0;
        loop {
            match feed.next(seen).await {
                Ok(Step::Lines(lines)) => {
                    for line in lines {
                        seen = line.seq;
                        self.line(open, &line).await?;
                    }
                    self.client.is_heard();
                }
                // A feed of updates gives no pieces.
                Ok(Step::Piece(_) | Step::Silence) => {}
                // At a shutdown the connection is closed by its owner.
                Ok(Step::End | Step::Shutdown) => return Ok(Ok(())),
                Err(error) => {
                    tracing::error!(%error, cause = %error.source, "an event stream breaks off");
                    return Ok(Err(error));
                }
            }
        }
    }

    async fn line(&self, open: &Open, line: &Line) -> Result<(), Gone> {
        match line.head().map(|head| head.kind) {
            Some(RecordKind::Other("update")) => self.update(open, line).await,
            Some(RecordKind::Other("permission" | "permission_answer" | "turn_ended")) => self.record(open, line).await,
            Some(RecordKind::Other(_) | RecordKind::Output(..)) | None => Ok(()),
        }
    }

    async fn update(&self, open: &Open, line: &Line) -> Result<(), Gone> {
        let Ok(update) = serde_json::from_slice::<UpdateLine<'_>>(&line.text) else {
            return Ok(());
        };
        let (seq, turn, time) = (update.seq, update.turn, update.time);
        let about = json!({ "seq": seq, "turn": turn, "time": time });
        let session = open.session.id().to_string();
        match serde_json::from_str::<SessionUpdate>(update.update.get()) {
            // The client has just said it itself.
            Ok(SessionUpdate::UserMessageChunk(_)) if open.awaits(turn).await => Ok(()),
            Ok(update) => {
                let notified = SessionNotification::new(session, update).meta(words::meta(about));
                self.client.say(notification(CLIENT.session_update, notified)).await
            }
            Err(_) if self.wishes.raw => {
                let raw = json!({ "sessionId": session, "update": update.update, "_meta": words::meta(about) });
                self.client.say(notification(RAW, raw)).await
            }
            Err(_) => Ok(()),
        }
    }

    async fn record(&self, open: &Open, line: &Line) -> Result<(), Gone> {
        let Some(record) = decode(&line.text) else {
            return Ok(());
        };
        match record.body {
            Body::Permission(permission) => {
                let state = open.session.latest();
                let mut pending = state.pending_permissions();
                if pending.any(|(waits, _)| waits.id == permission.id) {
                    self.ask(&open.session, permission).await?;
                }
                Ok(())
            }
            Body::PermissionAnswer(answer) => self.withdraw(&open.session, &answer.id).await,
            Body::TurnEnded(ended) => self.ended(open, record.turn, record.seq, ended).await,
            _ => Ok(()),
        }
    }

    /// Answers the prompt of a turn, if it was this client's.
    async fn ended(&self, open: &Open, turn: u32, seq: u64, ended: TurnEnded) -> Result<(), Gone> {
        // Held until it is answered: who closes the session waits for that.
        let mut awaited = open.awaited.lock().await;
        let Some(id) = awaited.as_mut().and_then(|awaited| awaited.remove(&turn)) else {
            return Ok(());
        };
        let outcome = words::outcome(turn, seq, ended);
        let outcome = outcome.and_then(|outcome| super::methods::value(&outcome));
        let answered = self.respond(id, outcome).await;
        drop(awaited);
        open.has_answered();
        answered
    }

    /// Nothing more will be told of a session: whoever waits hears of it, and who wants to know more opens it anew.
    async fn give_up(&self, open: &Arc<Open>) {
        self.forget(open);
        let awaited = open.take_all().await;
        let id = open.session.id().as_str();
        let gone = self.api.runtime.session(id).err();
        let error = if let Some(error @ RuntimeError::SessionNotFound { .. }) = gone {
            Problem::from(error).json_rpc()
        } else {
            let message = "the session cannot be followed any more; its turn goes on, and session/load tells it";
            told(ErrorCode::InternalError, message)
        };
        for request in awaited.into_values() {
            let error: Error = error.clone();
            drop(self.respond(request, Err(error)).await);
        }
        open.has_answered();
    }
}
