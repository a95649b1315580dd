//! The sessions that a client has opened, and which of its prompts wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_client_protocol_schema::v1::RequestId;
use tokio::sync::Notify;

use crate::runtime::Session;

/// The open sessions of a client, by their ids.
#[derive(Default)]
pub(super) struct OpenSessions(Mutex<BTreeMap<String, Arc<OpenSession>>>);

/// A session that the client has opened.
pub(super) struct OpenSession {
    pub(super) session: Arc<Session>,
    /// The turns that prompts of this client wait for; `None` once the session is no longer followed. Held while a prompt
    /// is accepted, so that the follower that reads of a turn in the journal knows whose it is.
    pub(super) waiting: tokio::sync::Mutex<Option<BTreeMap<u32, RequestId>>>,
    /// A prompt was answered.
    answered: Notify,
    /// The client has closed the session.
    pub(super) closed: Notify,
}

impl OpenSession {
    fn new(session: &Arc<Session>) -> Self {
        Self {
            session: Arc::clone(session),
            waiting: tokio::sync::Mutex::new(Some(BTreeMap::new())),
            answered: Notify::new(),
            closed: Notify::new(),
        }
    }

    /// Whether a turn is one of this client's own.
    pub(super) async fn is_own_turn(&self, turn: u32) -> bool {
        self.own_turns().await.contains(&turn)
    }

    /// The turns of this client's own prompts.
    pub(super) async fn own_turns(&self) -> BTreeSet<u32> {
        let waiting = self.waiting.lock().await;
        waiting.iter().flat_map(BTreeMap::keys).copied().collect()
    }

    /// The turn that a prompt of this client waits for.
    pub(super) async fn turn_of(&self, request: &RequestId) -> Option<u32> {
        let waiting = self.waiting.lock().await;
        let mut waiting = waiting.iter().flatten();
        waiting.find(|(_, id)| *id == request).map(|(turn, _)| *turn)
    }

    /// Takes all prompts that wait, to be answered by the caller; no further ones are accepted.
    pub(super) async fn take_waiting(&self) -> BTreeMap<u32, RequestId> {
        self.waiting.lock().await.take().unwrap_or_default()
    }

    /// Reports that a prompt was answered.
    pub(super) fn notify_answered(&self) {
        self.answered.notify_waiters();
    }

    /// Waits until every prompt is answered; no further ones are accepted.
    async fn finish(&self) {
        loop {
            let answered = self.answered.notified();
            let mut waiting = self.waiting.lock().await;
            if waiting.as_ref().is_none_or(BTreeMap::is_empty) {
                *waiting = None;
                return;
            }
            drop(waiting);
            answered.await;
        }
    }
}

impl OpenSessions {
    /// The open session, and whether this call has opened it.
    pub(super) fn open(&self, session: &Arc<Session>) -> (Arc<OpenSession>, bool) {
        if let Some(open) = self.get(session) {
            return (open, false);
        }
        let open = Arc::new(OpenSession::new(session));
        self.lock().insert(session.id().to_string(), Arc::clone(&open));
        (open, true)
    }

    /// The open session, if the client has opened it.
    pub(super) fn get(&self, session: &Arc<Session>) -> Option<Arc<OpenSession>> {
        let open = self.lock().get(session.id().as_str()).cloned();
        open.filter(|open| Arc::ptr_eq(&open.session, session))
    }

    pub(super) fn all(&self) -> Vec<Arc<OpenSession>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn remove(&self, open: &Arc<OpenSession>) {
        let mut sessions = self.lock();
        let id = open.session.id().as_str();
        if sessions.get(id).is_some_and(|known| Arc::ptr_eq(known, open)) {
            sessions.remove(id);
        }
    }

    /// Closes a session once all that the client waits for is answered.
    pub(super) async fn close(&self, session: &Arc<Session>) {
        if let Some(open) = self.get(session) {
            open.finish().await;
            self.remove(&open);
            open.closed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<OpenSession>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
