//! The bound on connections. One that waits for a request is closed when a new one comes at the bound.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// How long the head of a request may take, from its first byte, and the first one from the connection on.
const HEAD_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 15_000 });

/// How long a connection is kept for its next request. Longer than the 600 to 620 s of the proxies of platforms: a
/// connection that we close first is a request that they lose.
const IDLE_TIMEOUT: Duration = Duration::from_secs(640);

/// A connection that must close does so within microseconds. One that does not has got a request just now.
const EVICTION: Duration = Duration::from_millis(200);

/// A bounded number of connections.
#[derive(Debug)]
pub(crate) struct ClientConnections {
    permits: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

/// The connections without a request, in the order in which they began to wait.
#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    evictions: BTreeMap<u64, Arc<Notify>>,
}

impl ClientConnections {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let waiting = Mutex::default();
        Arc::new(Self { permits, waiting })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a new connection; at the bound, the connection that has waited for a request for the longest time is closed.
    /// `None` if all have requests.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Arc<ClientConnection>> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.evict().await?,
        };
        let client = Arc::new(ClientConnection {
            connections: Arc::clone(self),
            evict: Arc::default(),
            state: Mutex::default(),
            is_unflushed: AtomicBool::new(false),
            _permit: permit,
        });
        client.begin_waiting(HEAD_TIMEOUT);
        Some(client)
    }

    /// Closes the connection that waits for the longest time. One that gets a request meanwhile stays, and the next one is
    /// tried.
    async fn evict(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let (_, evict) = self.waiting().evictions.pop_first()?;
            evict.notify_one();
            let free = Arc::clone(&self.permits).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(EVICTION, free).await {
                return permit.ok();
            }
        }
    }
}

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct ClientConnection {
    connections: Arc<ClientConnections>,
    evict: Arc<Notify>,
    state: Mutex<State>,
    /// Bytes were written that the client has not taken yet.
    is_unflushed: AtomicBool,
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A request is being served, or the connection is no longer one of HTTP.
    #[default]
    Active,
    /// The answer is complete, and may still be on its way to a client that reads slowly.
    Flushing,
    Waiting {
        idle_order: u64,
        until: Instant,
        /// A part of the next head has come.
        in_head: bool,
    },
    /// It never waits again.
    Upgraded,
}

impl ClientConnection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_waiting(&self, timeout: Duration) {
        let idle_order = {
            let mut waiting = self.connections.waiting();
            waiting.last = waiting.last.saturating_add(1);
            let idle_order = waiting.last;
            waiting.evictions.insert(idle_order, Arc::clone(&self.evict));
            idle_order
        };
        *self.state() = State::Waiting {
            idle_order,
            until: Instant::now() + timeout,
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
        self.set(State::Active);
    }

    /// The answer to a request is complete.
    pub(super) fn finish_request(&self) {
        let mut state = self.state();
        if matches!(*state, State::Active) {
            *state = State::Flushing;
        }
    }

    /// Bytes are written.
    pub(super) fn begin_write(&self) {
        self.is_unflushed.store(true, Ordering::Relaxed);
        let is_waiting = matches!(*self.state(), State::Waiting { .. });
        if is_waiting {
            self.set(State::Flushing);
        }
    }

    /// The client has taken all that was written.
    pub(super) fn finish_write(&self) {
        self.is_unflushed.store(false, Ordering::Relaxed);
    }

    /// The connection leaves HTTP, and still counts.
    pub(super) fn upgrade(&self) {
        self.set(State::Upgraded);
    }

    fn set(&self, new: State) {
        let old = std::mem::replace(&mut *self.state(), new);
        if let State::Waiting { idle_order, .. } = old {
            self.connections.waiting().evictions.remove(&idle_order);
        }
    }

    /// Waits until the connection must be closed: a new one comes at the bound, or its request did not come in time.
    ///
    /// The state changes while the connection is polled, so this has to be polled after it, by the same task.
    pub(super) async fn must_close(&self) {
        let mut timer = pin!(sleep_until(Instant::now() + HEAD_TIMEOUT));
        let mut overdue = pin!(poll_fn(|context| {
            // All that hyper has buffered was written or refused by now, so what was refused is known.
            let is_flushed = !self.is_unflushed.load(Ordering::Relaxed);
            let is_flushing = matches!(*self.state(), State::Flushing);
            if is_flushing && is_flushed {
                self.begin_waiting(IDLE_TIMEOUT);
            }
            let State::Waiting { until, .. } = *self.state() else {
                return std::task::Poll::Pending;
            };
            if timer.deadline() != until {
                timer.as_mut().reset(until);
            }
            timer.as_mut().poll(context)
        }));
        loop {
            tokio::select! {
                biased;
                () = overdue.as_mut() => return,
                () = self.evict.notified() => {}
            }
            // A request may have come since this connection was chosen.
            let is_waiting = matches!(*self.state(), State::Waiting { .. });
            if is_waiting {
                return;
            }
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.set(State::Upgraded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_evicted(client: &ClientConnection) -> bool {
        tokio::time::timeout(Duration::from_millis(1), client.must_close())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn the_longest_waiting_connection_gives_way_and_no_request_does() {
        let connections = ClientConnections::new(2);
        let (one, two) = (connections.take().await.unwrap(), connections.take().await.unwrap());
        one.begin_request();
        let third = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.take().await }
        });
        tokio::task::yield_now().await;
        assert!(!is_evicted(&one).await && is_evicted(&two).await);
        drop(two);
        let third = third.await.unwrap().unwrap();
        third.begin_request();
        assert!(connections.take().await.is_none(), "both have requests");
        one.finish_request();
        one.upgrade();
        assert!(
            connections.take().await.is_none(),
            "an upgraded connection does not wait"
        );
    }

    #[tokio::test]
    async fn a_request_that_comes_during_an_eviction_is_served() {
        let connections = ClientConnections::new(2);
        let (one, two) = (connections.take().await.unwrap(), connections.take().await.unwrap());
        two.begin_request();
        two.finish_request();
        assert!(!is_evicted(&two).await, "it waits after the other one, and for long");
        let third = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.take().await }
        });
        tokio::task::yield_now().await;
        one.begin_request();
        assert!(!is_evicted(&one).await, "its request has begun");
        two.must_close().await;
        drop(two);
        assert!(third.await.unwrap().is_some(), "the next one makes room");
    }

    #[tokio::test]
    async fn an_answer_on_its_way_to_a_slow_reader_is_not_cut() {
        let connections = ClientConnections::new(1);
        let client = connections.take().await.unwrap();
        client.begin_request();
        client.begin_write();
        client.finish_request();
        assert!(!is_evicted(&client).await);
        assert!(connections.take().await.is_none(), "it does not wait for a request yet");
        client.finish_write();
        assert!(!is_evicted(&client).await, "nobody needs it to go");
        let next = tokio::spawn(async move { connections.take().await });
        client.must_close().await;
        drop(client);
        assert!(next.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_head_has_a_deadline_and_an_idle_connection_a_long_one() {
        let connections = ClientConnections::new(1);
        let client = connections.take().await.unwrap();
        client.must_close().await;
        client.begin_request();
        let long = HEAD_TIMEOUT * 4;
        assert!(
            tokio::time::timeout(long, client.must_close()).await.is_err(),
            "it is served"
        );
        client.finish_request();
        assert!(
            tokio::time::timeout(long, client.must_close()).await.is_err(),
            "it is idle"
        );
        let trickle = async {
            loop {
                client.begin_head();
                tokio::time::sleep(HEAD_TIMEOUT / 5).await;
            }
        };
        tokio::select! {
            () = client.must_close() => {}
            () = trickle => {}
        }
    }
}
