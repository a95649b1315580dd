//! Places for connections. One that waits for a request lends its place: it goes when a new one needs it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// How long the head of a request may take, from its first byte, and the first one from the connection on.
const HEAD_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 15_000 });

/// How long a connection is kept for its next request. Longer than the 600 to 620 s of the proxies of platforms: a
/// connection that we close first is a request that they lose.
const IDLE_TIMEOUT: Duration = Duration::from_secs(640);

/// A connection that has to go does so within microseconds.
const EVICTION: Duration = Duration::from_secs(1);

/// Places for a number of connections.
#[derive(Debug)]
pub(crate) struct Places {
    permits: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

/// The connections without a request, in the order in which they began to wait.
#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    evictions: BTreeMap<u64, Arc<Notify>>,
}

impl Places {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let waiting = Mutex::default();
        Arc::new(Self { permits, waiting })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection: a free one, or that of the connection that has waited for a request for the longest
    /// time; `None` if all have requests.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        let permit = if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            permit
        } else {
            let (_, evict) = self.waiting().evictions.pop_first()?;
            evict.notify_one();
            let free = Arc::clone(&self.permits).acquire_owned();
            tokio::time::timeout(EVICTION, free).await.ok()?.ok()?
        };
        let place = Arc::new(Place {
            places: Arc::clone(self),
            evict: Arc::default(),
            state: Mutex::default(),
            _permit: permit,
        });
        place.begin_waiting(HEAD_TIMEOUT);
        Some(place)
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    evict: Arc<Notify>,
    state: Mutex<State>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A request is being served, or the connection is no longer one of HTTP.
    #[default]
    Working,
    Waiting {
        ticket: u64,
        until: Instant,
        /// A part of the next head has come.
        in_head: bool,
    },
    /// It never waits again.
    Upgraded,
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_waiting(&self, patience: Duration) {
        let ticket = {
            let mut waiting = self.places.waiting();
            waiting.last = waiting.last.saturating_add(1);
            let ticket = waiting.last;
            waiting.evictions.insert(ticket, Arc::clone(&self.evict));
            ticket
        };
        *self.state() = State::Waiting {
            ticket,
            until: Instant::now() + patience,
            in_head: false,
        };
    }

    /// The first bytes of a head have come.
    pub(super) fn begin_head(&self) {
        if let State::Waiting { until, in_head, .. } = &mut *self.state()
            && !std::mem::replace(in_head, true)
        {
            *until = (*until).min(Instant::now() + HEAD_TIMEOUT);
        }
    }

    /// A request is there.
    pub(super) fn begin_request(&self) {
        self.set(State::Working);
    }

    /// The answer to a request is over.
    pub(super) fn finish_request(&self) {
        let is_working = matches!(*self.state(), State::Working);
        if is_working {
            self.begin_waiting(IDLE_TIMEOUT);
        }
    }

    /// The connection leaves HTTP, and keeps its place.
    pub(super) fn upgrade(&self) {
        self.set(State::Upgraded);
    }

    fn set(&self, new: State) {
        let old = std::mem::replace(&mut *self.state(), new);
        if let State::Waiting { ticket, .. } = old {
            self.places.waiting().evictions.remove(&ticket);
        }
    }

    /// Waits until the connection has to go: another one needs its place, or its request did not come in time.
    ///
    /// The state changes while the connection is polled, so this has to be polled after it, by the same task.
    pub(super) async fn has_to_go(&self) {
        let mut timer = pin!(sleep_until(Instant::now() + HEAD_TIMEOUT));
        let overdue = poll_fn(|context| {
            let State::Waiting { until, .. } = *self.state() else {
                return std::task::Poll::Pending;
            };
            if timer.deadline() != until {
                timer.as_mut().reset(until);
            }
            timer.as_mut().poll(context)
        });
        tokio::select! {
            () = overdue => {}
            () = self.evict.notified() => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.set(State::Upgraded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_evicted(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.has_to_go())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn the_longest_waiting_connection_gives_way_and_no_request_does() {
        let places = Places::new(2);
        let (one, two) = (places.take().await.unwrap(), places.take().await.unwrap());
        one.begin_request();
        let third = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        tokio::task::yield_now().await;
        assert!(!is_evicted(&one).await && is_evicted(&two).await);
        drop(two);
        let third = third.await.unwrap().unwrap();
        third.begin_request();
        assert!(places.take().await.is_none(), "both have requests");
        one.finish_request();
        one.upgrade();
        assert!(places.take().await.is_none(), "an upgraded connection does not wait");
    }

    #[tokio::test]
    async fn a_head_has_a_deadline_and_an_idle_connection_a_long_one() {
        let places = Places::new(1);
        let place = places.take().await.unwrap();
        place.has_to_go().await;
        place.begin_request();
        let long = HEAD_TIMEOUT * 4;
        assert!(
            tokio::time::timeout(long, place.has_to_go()).await.is_err(),
            "it is served"
        );
        place.finish_request();
        assert!(
            tokio::time::timeout(long, place.has_to_go()).await.is_err(),
            "it is idle"
        );
        let trickle = async {
            loop {
                place.begin_head();
                tokio::time::sleep(HEAD_TIMEOUT / 5).await;
            }
        };
        tokio::select! {
            () = place.has_to_go() => {}
            () = trickle => {}
        }
    }
}
