//! Deleting closed sessions, oldest first, when they are old or there is no room for them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::runtime::blocking::run_blocking;
use crate::runtime::lifecycle::removal::Removal;
use crate::runtime::lifecycle::undelivered::Undelivered;
use crate::runtime::platform::machine::Machine;
use crate::runtime::session::handle::Session;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::settings::SettingsStore;
use crate::runtime::signals::{Activity, Shutdown};
use promptd_model::SessionState;
use promptd_sys as sys;

/// A session that ended less than this many seconds ago is not deleted for want of room: its caller may still be
/// reading.
const FRESH_SECONDS: i64 = 60;

/// Reading every folder costs; once in this time is enough, however many sessions end.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// How often the free disk space is checked while agents are at work.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// Sessions grow old without anything happening.
const MAX_INTERVAL: Duration = Duration::from_hours(1);

/// A session that may be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Closed<T> {
    session: T,
    /// Seconds since its last record.
    age: i64,
    bytes: u64,
    /// Every sink has all of it.
    delivered: bool,
}

/// Which to delete, oldest first: all beyond `keep_seconds`, then as many as it takes to free `excess` bytes. Those that
/// a sink has not had come last, and for want of room only.
fn select<T>(mut closed: Vec<Closed<T>>, keep_seconds: i64, mut excess: u64) -> Vec<Closed<T>> {
    closed.sort_by_key(|closed| (!closed.delivered, std::cmp::Reverse(closed.age)));
    let mut selected = Vec::new();
    for closed in closed {
        if (closed.delivered && closed.age > keep_seconds) || (excess > 0 && closed.age > FRESH_SECONDS) {
            excess = excess.saturating_sub(closed.bytes);
            selected.push(closed);
        }
    }
    selected
}

/// What keeps the home within its limits.
#[derive(Debug)]
pub(crate) struct Retention {
    pub settings: Arc<SettingsStore>,
    pub machine: Arc<Machine>,
    pub registry: Arc<SessionRegistry>,
    pub removal: Arc<Removal>,
    pub undelivered: Arc<Undelivered>,
    pub activity: Arc<Activity>,
    pub shutdown: Arc<Shutdown>,
}

impl Retention {
    /// Deletes what need not or cannot be kept, soon after a session has come to rest. Where there are no sessions,
    /// nothing wakes it.
    pub(crate) async fn run(self: Arc<Self>) {
        self.removal.remove_leftovers();
        let mut shutdown = self.shutdown.subscribe();
        loop {
            let has_sessions = !self.registry.is_empty();
            tokio::select! {
                () = self.activity.at_rest() => {}
                () = self.activity.low_disk_space() => {}
                () = self.low_disk_space_while_busy() => {}
                () = tokio::time::sleep(MAX_INTERVAL), if has_sessions => {}
                // A server that shuts down needs nothing deleted.
                _ = shutdown.changed() => return,
            }
            self.delete_excess().await;
            tokio::time::sleep(MIN_INTERVAL).await;
        }
    }

    /// Waits until there is too little disk space while agents are at work. They are frozen then, so none comes to rest, and
    /// nothing else would wake us. A server at rest checks nothing.
    async fn low_disk_space_while_busy(self: &Arc<Self>) {
        let is_busy = || {
            let sessions = self.registry.all_with_new();
            sessions.iter().any(|session| session.control.is_busy())
        };
        loop {
            while !is_busy() {
                self.activity.busy().await;
            }
            tokio::time::sleep(DISK_INTERVAL).await;
            let retention = Arc::clone(self);
            let missing = run_blocking(move || Ok(retention.missing_disk_space())).await;
            if missing.unwrap_or(0) > 0 && is_busy() {
                return;
            }
        }
    }

    /// How many bytes are missing to the free disk space that the limits ask for.
    fn missing_disk_space(&self) -> u64 {
        let settings = self.settings.get();
        let free = sys::disk_space(&settings.home).map_or(u64::MAX, |space| space.free);
        settings.limits.min_free_bytes.saturating_sub(free)
    }

    async fn delete_excess(self: &Arc<Self>) {
        let retention = Arc::clone(self);
        let find = move || {
            retention.undelivered.remove_reported();
            retention.find_excess()
        };
        let Ok(excess) = tokio::task::spawn_blocking(find).await else {
            return;
        };
        for Closed { session, delivered, .. } in excess {
            let found = Arc::clone(&session);
            // It may have been given a turn since it was found.
            let mark = run_blocking(move || Ok(mark_deleted(&found)));
            if !mark.await.unwrap_or(false) {
                continue;
            }
            match self.delete(&session, delivered).await {
                Ok(()) => tracing::info!(session = %session.id(), delivered, "deleted, as the limits ask"),
                Err(error) => tracing::warn!(session = %session.id(), error, "could not be deleted"),
            }
        }
    }

    async fn delete(&self, session: &Arc<Session>, delivered: bool) -> Result<(), String> {
        if delivered {
            let deleted = self.removal.delete(session).await;
            return deleted.map_err(|error| error.to_string());
        }
        let (undelivered, found) = (Arc::clone(&self.undelivered), Arc::clone(session));
        let delete = async || {
            let deleted = tokio::task::spawn_blocking(move || undelivered.delete(&found)).await;
            let deleted = deleted.map_err(|error| error.to_string());
            let deleted = deleted.and_then(|deleted| deleted.map_err(|error| error.to_string()));
            if deleted.is_err() {
                session.control.unmark_deleted();
            }
            deleted
        };
        session.deleted.get_or_try_init(delete).await.copied()
    }

    fn find_excess(&self) -> Vec<Closed<Arc<Session>>> {
        let settings = self.settings.get();
        let limits = &settings.limits;
        let now = Timestamp::now();
        let mut total = 0_u64;
        let mut closed = Vec::new();
        for session in self.registry.all() {
            let bytes = sys::folder_bytes(&session.folder).unwrap_or(0);
            total = total.saturating_add(bytes);
            if session.control.is_busy() {
                continue;
            }
            let state = session.state();
            let last = state.updated_at.unwrap_or_else(|| session.created_at());
            closed.push(Closed {
                age: now.as_second().saturating_sub(last.as_second()),
                delivered: session.sink_workers.undelivered(state.last_seq).is_empty(),
                session,
                bytes,
            });
        }
        let excess = total.saturating_sub(limits.total_bytes).max(self.missing_disk_space());
        // A caller that wakes a sandbox after a month wants to read what is in it: for a while, age is no reason.
        let keep_seconds = if self.machine.came_back_within(MAX_INTERVAL) {
            i64::MAX
        } else {
            i64::from(limits.keep_days).saturating_mul(86_400)
        };
        select(closed, keep_seconds, excess)
    }
}

/// Marks a session as deleted, where it is idle.
fn mark_deleted(session: &Session) -> bool {
    let is_idle = |state: &SessionState| state.current().is_none() && session.control.mark_deleted_if_idle();
    // Under the journal's lock no prompt is accepted in between. A journal that cannot be read is no reason to stay.
    let marked = session.journal.transact(|state| (Vec::new(), is_idle(state)));
    marked.unwrap_or_else(|_| is_idle(&session.state()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(all: &[Closed<&'static str>], keep_seconds: i64, excess: u64) -> Vec<&'static str> {
        let selected = select(all.to_vec(), keep_seconds, excess);
        selected.into_iter().map(|closed| closed.session).collect()
    }

    fn closed(session: &'static str, age: i64, bytes: u64) -> Closed<&'static str> {
        Closed {
            session,
            age,
            bytes,
            delivered: true,
        }
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_needed() {
        let all = [
            closed("new", 10, 5),
            closed("old", 900, 5),
            closed("older", 1_000, 5),
            closed("ancient", 5_000, 5),
        ];
        assert_eq!(selected(&all, 4_000, 0), ["ancient"]);
        assert_eq!(selected(&all, 4_000, 8), ["ancient", "older"]);
        assert_eq!(selected(&all, 10_000, 1_000), ["ancient", "older", "old"]);
    }

    #[test]
    fn undelivered_sessions_go_last_and_never_for_their_age() {
        let undelivered = Closed {
            delivered: false,
            ..closed("undelivered", 9_000, 5)
        };
        let all = [undelivered, closed("old", 900, 5), closed("ancient", 5_000, 5)];
        assert_eq!(selected(&all, 4_000, 0), ["ancient"]);
        assert_eq!(selected(&all, 4_000, 8), ["ancient", "old"]);
        assert_eq!(selected(&all, 4_000, 11), ["ancient", "old", "undelivered"]);
    }
}
