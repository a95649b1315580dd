//! Forgetting closed sessions, oldest first, when they are old or there is no room for them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;

use super::Runtime;
use super::session::Session;
use crate::sys;

/// A session that ended less than this many seconds ago is not forgotten for want of room: whoever asked for it may
/// still be reading.
const FRESH_SECONDS: i64 = 60;

/// Looking at every folder costs; once in this time is enough, however many sessions end.
const NOT_SOONER: Duration = Duration::from_secs(10);

/// Sessions grow old without anything happening.
const NOT_LATER: Duration = Duration::from_hours(1);

/// A session that may be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Closed<T> {
    session: T,
    /// Seconds since its last record.
    age: i64,
    bytes: u64,
}

/// Which to forget, oldest first: all beyond `keep_seconds`, then as many as it takes to be rid of `excess` bytes.
fn to_forget<T>(mut closed: Vec<Closed<T>>, keep_seconds: i64, mut excess: u64) -> Vec<T> {
    closed.sort_by_key(|closed| std::cmp::Reverse(closed.age));
    let mut forget = Vec::new();
    for Closed { session, age, bytes } in closed {
        if age > keep_seconds || (excess > 0 && age > FRESH_SECONDS) {
            excess = excess.saturating_sub(bytes);
            forget.push(session);
        }
    }
    forget
}

/// Forgets what need not or cannot be kept, soon after a session has come to rest.
pub(super) async fn keep_within_limits(runtime: Weak<Runtime>) {
    while let Some(runtime) = runtime.upgrade() {
        let _later = tokio::time::timeout(NOT_LATER, runtime.at_rest.notified()).await;
        runtime.retain().await;
        drop(runtime);
        tokio::time::sleep(NOT_SOONER).await;
    }
}

impl Runtime {
    async fn retain(self: &Arc<Self>) {
        let runtime = Arc::clone(self);
        let Ok(forget) = tokio::task::spawn_blocking(move || runtime.forgettable()).await else {
            return;
        };
        for session in forget {
            {
                let mut duties = session.duties();
                // It may have been given a turn since it was looked at.
                if duties.driven || !duties.tenders.is_empty() || session.state().current().is_some() {
                    continue;
                }
                duties.deleted = true;
            }
            tracing::info!(session = %session.id(), "forgotten, as the limits ask");
            if let Err(error) = self.delete(&session).await {
                tracing::warn!(session = %session.id(), %error, "could not be forgotten");
            }
        }
    }

    fn forgettable(&self) -> Vec<Arc<Session>> {
        let settings = self.settings();
        let limits = &settings.limits;
        let now = Timestamp::now();
        let mut total = 0_u64;
        let mut closed = Vec::new();
        for session in self.sessions() {
            let bytes = sys::tree_bytes(&session.folder).unwrap_or(0);
            total = total.saturating_add(bytes);
            let duties = session.duties();
            if duties.driven || !duties.tenders.is_empty() {
                continue;
            }
            drop(duties);
            let last = session.state().updated_at.unwrap_or_else(|| session.created_at());
            closed.push(Closed {
                age: now.as_second().saturating_sub(last.as_second()),
                session,
                bytes,
            });
        }
        let free = sys::space(&settings.home).map_or(u64::MAX, |space| space.free);
        let excess = total
            .saturating_sub(limits.total_bytes)
            .max(limits.min_free_bytes.saturating_sub(free));
        to_forget(closed, i64::from(limits.keep_days).saturating_mul(86_400), excess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_only_as_many_as_must() {
        let closed = |session, age, bytes| Closed { session, age, bytes };
        let all = vec![
            closed("new", 10, 5),
            closed("old", 900, 5),
            closed("older", 1_000, 5),
            closed("ancient", 5_000, 5),
        ];
        assert_eq!(to_forget(all.clone(), 4_000, 0), ["ancient"]);
        assert_eq!(to_forget(all.clone(), 4_000, 8), ["ancient", "older"]);
        assert_eq!(to_forget(all, 10_000, 1_000), ["ancient", "older", "old"]);
    }
}
