//! Forgetting closed sessions, oldest first, when they are old or there is no room for them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;

use crate::runtime::Runtime;
use crate::runtime::session::Session;
use promptd_sys as sys;

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
    /// Every sink has all of it.
    delivered: bool,
}

/// Which to forget, oldest first: all beyond `keep_seconds`, then as many as it takes to be rid of `excess` bytes.
/// Those that a sink has not had go last, and for want of room only.
fn to_forget<T>(mut closed: Vec<Closed<T>>, keep_seconds: i64, mut excess: u64) -> Vec<Closed<T>> {
    closed.sort_by_key(|closed| (!closed.delivered, std::cmp::Reverse(closed.age)));
    let mut forget = Vec::new();
    for closed in closed {
        if (closed.delivered && closed.age > keep_seconds) || (excess > 0 && closed.age > FRESH_SECONDS) {
            excess = excess.saturating_sub(closed.bytes);
            forget.push(closed);
        }
    }
    forget
}

/// Forgets what need not or cannot be kept, soon after a session has come to rest. While there is none, nothing wakes.
pub(crate) async fn keep_within_limits(runtime: Weak<Runtime>) {
    while let Some(here) = runtime.upgrade() {
        let (at_rest, mut shutdown) = (Arc::clone(&here.at_rest), here.shutdown());
        let again = here.any_session(|_| true).then_some(NOT_LATER);
        drop(here);
        tokio::select! {
            () = at_rest.notified() => {}
            () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
            // Whoever goes down needs nothing forgotten; and a runtime that is gone notifies nobody.
            _ = shutdown.changed() => return,
        }
        let Some(here) = runtime.upgrade() else { return };
        here.retain().await;
        drop(here);
        tokio::time::sleep(NOT_SOONER).await;
    }
}

impl Runtime {
    async fn retain(self: &Arc<Self>) {
        let runtime = Arc::clone(self);
        let look = move || {
            runtime.remove_told();
            runtime.forgettable()
        };
        let Ok(forget) = tokio::task::spawn_blocking(look).await else {
            return;
        };
        for Closed { session, delivered, .. } in forget {
            {
                let mut duties = session.duties();
                // It may have been given a turn since it was looked at.
                if duties.driven || !duties.tenders.is_empty() || session.state().current().is_some() {
                    continue;
                }
                duties.deleted = true;
            }
            let forgotten = if delivered {
                self.delete(&session).await.map_err(|error| error.to_string())
            } else {
                let (runtime, session) = (Arc::clone(self), Arc::clone(&session));
                let given_up = tokio::task::spawn_blocking(move || runtime.give_up(&session)).await;
                given_up.map_or_else(
                    |error| Err(error.to_string()),
                    |done| done.map_err(|error| error.to_string()),
                )
            };
            match forgotten {
                Ok(()) => tracing::info!(session = %session.id(), delivered, "forgotten, as the limits ask"),
                Err(error) => {
                    session.duties().deleted = false;
                    tracing::warn!(session = %session.id(), error, "could not be forgotten");
                }
            }
        }
    }

    fn forgettable(&self) -> Vec<Closed<Arc<Session>>> {
        let settings = self.settings();
        let limits = &settings.limits;
        let now = Timestamp::now();
        let mut total = 0_u64;
        let mut closed = Vec::new();
        for session in self.sessions() {
            let bytes = sys::folder_bytes(&session.folder).unwrap_or(0);
            total = total.saturating_add(bytes);
            let duties = session.duties();
            if duties.driven || !duties.tenders.is_empty() {
                continue;
            }
            drop(duties);
            let last = session.state().updated_at.unwrap_or_else(|| session.created_at());
            closed.push(Closed {
                age: now.as_second().saturating_sub(last.as_second()),
                delivered: session.sink_workers.undelivered(session.state().last_seq).is_empty(),
                session,
                bytes,
            });
        }
        let free = sys::disk_space(&settings.home).map_or(u64::MAX, |space| space.free);
        let excess = total
            .saturating_sub(limits.total_bytes)
            .max(limits.min_free_bytes.saturating_sub(free));
        // Whoever wakes a sandbox after a month wants to read what is in it: not for its age, just now.
        let keep_seconds = if self.epoch.is_back_since_less_than(NOT_LATER) {
            i64::MAX
        } else {
            i64::from(limits.keep_days).saturating_mul(86_400)
        };
        to_forget(closed, keep_seconds, excess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgotten(all: &[Closed<&'static str>], keep_seconds: i64, excess: u64) -> Vec<&'static str> {
        let forget = to_forget(all.to_vec(), keep_seconds, excess);
        forget.into_iter().map(|closed| closed.session).collect()
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
    fn the_oldest_go_first_and_only_as_many_as_must() {
        let all = [
            closed("new", 10, 5),
            closed("old", 900, 5),
            closed("older", 1_000, 5),
            closed("ancient", 5_000, 5),
        ];
        assert_eq!(forgotten(&all, 4_000, 0), ["ancient"]);
        assert_eq!(forgotten(&all, 4_000, 8), ["ancient", "older"]);
        assert_eq!(forgotten(&all, 10_000, 1_000), ["ancient", "older", "old"]);
    }

    #[test]
    fn what_a_sink_has_not_had_goes_last_and_never_for_its_age() {
        let undelivered = Closed {
            delivered: false,
            ..closed("undelivered", 9_000, 5)
        };
        let all = [undelivered, closed("old", 900, 5), closed("ancient", 5_000, 5)];
        assert_eq!(forgotten(&all, 4_000, 0), ["ancient"]);
        assert_eq!(forgotten(&all, 4_000, 8), ["ancient", "old"]);
        assert_eq!(forgotten(&all, 4_000, 11), ["ancient", "old", "undelivered"]);
    }
}
