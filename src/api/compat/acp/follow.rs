//! Follows a session that the client has opened: sends its journal as ACP updates, and the answers to its prompts.

use std::sync::Arc;

use agent_client_protocol_schema::v1::{
    CLIENT_METHOD_NAMES as CLIENT, Error, ErrorCode, RequestId, SessionNotification, SessionUpdate,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::connection::Connection;
use super::message::{meta, notification, rpc_error, value};
use super::open::OpenSession;
use super::outcome::outcome;
use super::running::{RunningGuard, cancelled_error};
use crate::api::http::problem::Problem;
use crate::api::stream::feed::{Feed, Until};
use crate::api::stream::lines::{LineFeed, LineStep};
use crate::api::stream::websocket::Disconnected;
use crate::runtime::{RuntimeError, Session};
use promptd_agents::updates::Line;
use promptd_journal::ReadError;
use promptd_model::{Body, RecordKind, TurnEnded, View, decode};

/// The notification for output that has no ACP update.
const RAW: &str = "_promptd/raw";

/// The notification that the chunks of a message are void.
const SUPERSEDED: &str = "_promptd/message_superseded";

/// A line of `view=updates` that is an update.
#[derive(Deserialize)]
struct UpdateLine<'a> {
    seq: u64,
    turn: u32,
    time: String,
    #[serde(borrow)]
    update: &'a RawValue,
}

/// An update that is not ACP's.
#[derive(Deserialize)]
#[serde(tag = "sessionUpdate")]
enum Extension {
    #[serde(rename = "_message_superseded", rename_all = "camelCase")]
    Superseded { message_id: String },
    #[serde(other)]
    Other,
}

/// Sends updates until the session is deleted, the client is gone, or it closes the session.
pub(super) async fn follow(connection: Arc<Connection>, open: Arc<OpenSession>, mut feed: LineFeed) {
    // The receiving loop notices that the client is gone.
    let ended = tokio::select! {
        sent = connection.send_updates(&open, &mut feed, || false) => sent.is_ok(),
        () = open.closed.notified() => false,
    };
    if ended {
        connection.stop_following(&open).await;
    }
}

/// Replays the journal, answers the request, and follows the session unless another task does so already.
pub(super) async fn load(
    connection: Arc<Connection>,
    open: Arc<OpenSession>,
    first: bool,
    (id, running): (RequestId, RunningGuard),
    answer: Value,
) {
    let replay = async {
        let runtime = &connection.api.runtime;
        let feed = Feed::open(runtime, &open.session, 0, Until::Now, View::Updates).map_err(Problem::from)?;
        let mut feed = LineFeed::new(feed);
        match connection
            .send_updates(&open, &mut feed, || running.is_cancelled())
            .await
        {
            Ok(sent) => sent?,
            Err(Disconnected) => return Ok(None),
        }
        let passed = feed.last_read().unwrap_or(0);
        let next = first.then(|| connection.feed(&open.session, passed)).transpose()?;
        Ok(Some(next))
    };
    match replay.await {
        Ok(None) => {}
        Ok(Some(_)) if running.is_cancelled() => {
            if first {
                connection.stop_following(&open).await;
            }
            drop(connection.respond(id, Err(cancelled_error())).await);
        }
        Ok(Some(next)) => {
            drop(running);
            drop(connection.respond(id, Ok(answer)).await);
            if let Some(feed) = next {
                follow(connection, open, feed).await;
            }
        }
        Err(problem) => {
            if first {
                // No task follows it: the next prompt opens it again.
                connection.stop_following(&open).await;
            }
            let error = connection.masked(&open.session, problem);
            drop(connection.respond(id, Err(error)).await);
        }
    }
}

impl Connection {
    /// A feed of what comes after a record.
    pub(super) fn feed(&self, session: &Arc<Session>, after: u64) -> Result<LineFeed, Problem> {
        let feed = Feed::open(&self.api.runtime, session, after, Until::Deleted, View::Updates)?;
        Ok(LineFeed::new(feed))
    }

    /// Sends what a feed gives until it ends, or breaks off, or is over for another reason.
    async fn send_updates(
        &self,
        open: &OpenSession,
        feed: &mut LineFeed,
        is_over: impl Fn() -> bool,
    ) -> Result<Result<(), ReadError>, Disconnected> {
        loop {
            match feed.next().await {
                Ok(LineStep::Lines(lines)) => {
                    for line in lines {
                        // Between two messages: no part of one may be missing.
                        if is_over() {
                            return Ok(Ok(()));
                        }
                        self.send_line(open, &line).await?;
                    }
                    self.sender.record_activity();
                }
                Ok(LineStep::Silence) => {}
                // At a shutdown the connection is closed by its owner.
                Ok(LineStep::End | LineStep::Shutdown) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    async fn send_line(&self, open: &OpenSession, line: &Line) -> Result<(), Disconnected> {
        match line.head().map(|head| head.kind) {
            Some(RecordKind::Other("update")) => self.send_update(open, line).await,
            Some(RecordKind::Other("permission" | "permission_answer" | "turn_ended")) => {
                self.handle_record(open, line).await
            }
            Some(RecordKind::Other(_) | RecordKind::Output(..)) | None => Ok(()),
        }
    }

    async fn send_update(&self, open: &OpenSession, line: &Line) -> Result<(), Disconnected> {
        let Ok(update) = serde_json::from_slice::<UpdateLine<'_>>(&line.text) else {
            return Ok(());
        };
        let (seq, turn, time) = (update.seq, update.turn, update.time);
        let about = json!({ "seq": seq, "turn": turn, "time": time });
        let session = open.session.id().to_string();
        match serde_json::from_str::<SessionUpdate>(update.update.get()) {
            // The client has just sent it itself.
            Ok(SessionUpdate::UserMessageChunk(_)) if open.is_own_turn(turn).await => Ok(()),
            Ok(update) if !self.takes(&update) => Ok(()),
            Ok(update) => {
                let notified = SessionNotification::new(session, update).meta(meta(about));
                self.sender
                    .send_text(notification(CLIENT.session_update, notified))
                    .await
            }
            Err(_) => self.send_extension(&session, update.update, about).await,
        }
    }

    /// Sends what ACP has no update for.
    async fn send_extension(&self, session: &str, update: &RawValue, about: Value) -> Result<(), Disconnected> {
        let meta = meta(about);
        let (method, params) = match serde_json::from_str::<Extension>(update.get()) {
            Ok(Extension::Superseded { message_id }) => {
                let params = json!({ "sessionId": session, "messageId": message_id, "_meta": meta });
                (SUPERSEDED, params)
            }
            _ if self.defaults.raw => (RAW, json!({ "sessionId": session, "update": update, "_meta": meta })),
            _ => return Ok(()),
        };
        self.sender.send_text(notification(method, params)).await
    }

    /// Whether the client takes an update: some need a capability.
    fn takes(&self, update: &SessionUpdate) -> bool {
        let shown = self.shown.get().copied().unwrap_or_default();
        match update {
            SessionUpdate::Notice(_) => shown.notices,
            SessionUpdate::CompactionUpdate(_) | SessionUpdate::CompactionSummaryChunk(_) => shown.compactions,
            _ => true,
        }
    }

    async fn handle_record(&self, open: &OpenSession, line: &Line) -> Result<(), Disconnected> {
        let Some(record) = decode(&line.text) else {
            return Ok(());
        };
        match record.body {
            Body::Permission(permission) => {
                let state = open.session.latest();
                let mut pending = state.pending_permissions();
                if pending.any(|(waits, _)| waits.id == permission.id) {
                    self.request_permission(&open.session, permission).await?;
                }
                Ok(())
            }
            Body::PermissionAnswer(answer) => self.withdraw_permission(&open.session, &answer.id).await,
            Body::TurnEnded(ended) => self.answer_prompt(open, record.turn, record.seq, ended).await,
            _ => Ok(()),
        }
    }

    /// Answers the prompt of a turn, if it was this client's.
    async fn answer_prompt(
        &self,
        open: &OpenSession,
        turn: u32,
        seq: u64,
        ended: TurnEnded,
    ) -> Result<(), Disconnected> {
        // Held until the prompt is answered: `session/close` waits for that.
        let mut waiting = open.waiting.lock().await;
        let Some(id) = waiting.as_mut().and_then(|waiting| waiting.remove(&turn)) else {
            return Ok(());
        };
        let answer = outcome(turn, seq, ended).and_then(|outcome| value(&outcome));
        let answered = self.respond(id, answer).await;
        drop(waiting);
        open.notify_answered();
        answered
    }

    /// Closes a session that cannot be followed any more: the prompts that wait are answered with the reason.
    async fn stop_following(&self, open: &Arc<OpenSession>) {
        self.open.remove(open);
        let waiting = open.take_waiting().await;
        let id = open.session.id().as_str();
        let gone = self.api.runtime.sessions.get(id).err();
        let error: Error = if let Some(not_found @ RuntimeError::SessionNotFound { .. }) = gone {
            Problem::from(not_found).into()
        } else {
            let message = "the session cannot be followed any more; its turn goes on, and session/load replays it";
            rpc_error(ErrorCode::InternalError, message)
        };
        for request in waiting.into_values() {
            drop(self.respond(request, Err(error.clone())).await);
        }
        open.notify_answered();
    }
}
