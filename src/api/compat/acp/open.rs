//! The sessions that a client has opened, and which of its requests wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use agent_client_protocol_schema::v1::RequestId;
use tokio::sync::{Mutex, Notify};

use super::Connection;
use crate::runtime::Session;

/// A session that the client has opened.
pub(super) struct Open {
    pub(super) session: Arc<Session>,
    /// The turns that requests of this client wait for; `None` when nobody tells of the session any more. Held while a
    /// prompt is accepted, so that whoever reads of a turn in the journal knows whose it is.
    pub(super) awaited: Mutex<Option<BTreeMap<u32, RequestId>>>,
    /// One of them was answered.
    answered: Notify,
    /// Nothing more is to be told.
    pub(super) closed: Notify,
}

impl Open {
    fn new(session: &Arc<Session>) -> Self {
        Self {
            session: Arc::clone(session),
            awaited: Mutex::new(Some(BTreeMap::new())),
            answered: Notify::new(),
            closed: Notify::new(),
        }
    }

    /// Whether a turn is one of this client's own.
    pub(super) async fn awaits(&self, turn: u32) -> bool {
        let awaited = self.awaited.lock().await;
        awaited.as_ref().is_some_and(|awaited| awaited.contains_key(&turn))
    }

    /// The turns of this client's own.
    pub(super) async fn own_turns(&self) -> BTreeSet<u32> {
        let awaited = self.awaited.lock().await;
        awaited.iter().flat_map(BTreeMap::keys).copied().collect()
    }

    /// Gives all requests that wait, to be answered by the caller; there will be no further ones.
    pub(super) async fn take_all(&self) -> BTreeMap<u32, RequestId> {
        self.awaited.lock().await.take().unwrap_or_default()
    }

    /// A request that waited has been answered.
    pub(super) fn has_answered(&self) {
        self.answered.notify_waiters();
    }

    /// Waits until every request is answered; there will be no further ones.
    async fn finish(&self) {
        loop {
            let answered = self.answered.notified();
            let mut awaited = self.awaited.lock().await;
            if awaited.as_ref().is_none_or(BTreeMap::is_empty) {
                *awaited = None;
                return;
            }
            drop(awaited);
            answered.await;
        }
    }
}

impl Connection {
    /// The open session, and whether it has just become so.
    pub(super) fn opened(&self, session: &Arc<Session>) -> (Arc<Open>, bool) {
        let known = self.known(session);
        if let Some(known) = known {
            return (known, false);
        }
        let new = Arc::new(Open::new(session));
        self.sessions().insert(session.id().to_string(), Arc::clone(&new));
        (new, true)
    }

    /// The open session, if the client has opened it.
    pub(super) fn known(&self, session: &Arc<Session>) -> Option<Arc<Open>> {
        let open = self.sessions();
        let known = open.get(session.id().as_str());
        known.filter(|known| Arc::ptr_eq(&known.session, session)).cloned()
    }

    /// The client has not opened it any more.
    pub(super) fn forget(&self, open: &Arc<Open>) {
        let mut sessions = self.sessions();
        let id = open.session.id().as_str();
        if sessions.get(id).is_some_and(|known| Arc::ptr_eq(known, open)) {
            sessions.remove(id);
        }
    }

    /// Tells no more of a session, once all that the client waits for is answered.
    pub(super) async fn let_go(&self, session: &Arc<Session>) {
        if let Some(open) = self.known(session) {
            open.finish().await;
            self.forget(&open);
            open.closed.notify_one();
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
