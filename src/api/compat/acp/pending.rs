//! The permission requests that wait for an answer of the client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::Session;

#[derive(Default)]
pub(super) struct PendingPermissions(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    last_id: i64,
    /// The session and the permission of each request, by the request's id.
    requests: BTreeMap<i64, (Arc<Session>, String)>,
}

impl PendingPermissions {
    /// Adds a request; returns its id.
    pub(super) fn add(&self, session: &Arc<Session>, permission: &str) -> i64 {
        let mut pending = self.lock();
        pending.last_id = pending.last_id.saturating_add(1);
        let id = pending.last_id;
        pending
            .requests
            .insert(id, (Arc::clone(session), permission.to_owned()));
        id
    }

    /// Takes the request of this id.
    pub(super) fn take(&self, id: i64) -> Option<(Arc<Session>, String)> {
        self.lock().requests.remove(&id)
    }

    /// Removes all requests for a permission; returns their ids. A client that loads a session twice is asked twice.
    pub(super) fn remove(&self, session: &Arc<Session>, permission: &str) -> Vec<i64> {
        let mut pending = self.lock();
        let removed = pending
            .requests
            .extract_if(.., |_, (of, id)| Arc::ptr_eq(of, session) && id == permission);
        removed.map(|(id, _)| id).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
