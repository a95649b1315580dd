//! The permission requests that wait for an answer of the client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::Session;

#[derive(Default)]
pub(super) struct PendingPermissions(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    last_id: i64,
    /// By the id of the request.
    requests: BTreeMap<i64, PendingPermission>,
}

/// A question that the client was asked.
pub(super) struct PendingPermission {
    pub(super) session: Arc<Session>,
    pub(super) permission: String,
    /// It was asked as a form.
    pub(super) is_form: bool,
}

impl PendingPermissions {
    /// Adds a request; returns its id.
    pub(super) fn add(&self, session: &Arc<Session>, permission: &str, is_form: bool) -> i64 {
        let mut pending = self.lock();
        pending.last_id = pending.last_id.saturating_add(1);
        let id = pending.last_id;
        let asked = PendingPermission {
            session: Arc::clone(session),
            permission: permission.to_owned(),
            is_form,
        };
        pending.requests.insert(id, asked);
        id
    }

    /// Takes the request of this id.
    pub(super) fn take(&self, id: i64) -> Option<PendingPermission> {
        self.lock().requests.remove(&id)
    }

    /// Removes all requests for a permission; returns their ids. A client that loads a session twice is asked twice.
    pub(super) fn remove(&self, session: &Arc<Session>, permission: &str) -> Vec<i64> {
        let mut pending = self.lock();
        let removed = pending.requests.extract_if(.., |_, asked| {
            Arc::ptr_eq(&asked.session, session) && asked.permission == permission
        });
        removed.map(|(id, _)| id).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
