//! How many connections there are at once, and who gets one: a dead backend has its own few, and a healthy one never
//! waits for it.
//!
//! Whoever failed the last time has few places at its backend, and whose backend fails everybody comes in by a side
//! door with few places. So thousands of sessions with a dead backend cost a bounded number of connections, and of
//! bodies in memory. A backend that answers has one place that no other backend can take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use reqwest::Url;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections in all, to backends that answer: with a body of 256 KiB each, 16 MiB of memory.
const FRESH: usize = 64;
/// Attempts at once whose bodies have many megabytes.
const LARGE: usize = 2;
/// So many failures in a row are no accident, and the backend comes in by the side door.
const FAILS: u32 = 3;
/// Connections in all, to backends that have not answered yet: who knows whether they will.
const UNHEARD: usize = 128;
/// Connections to one backend that answers.
const FRESH_PER_BACKEND: usize = 8;
/// Connections in all, for attempts after a failure.
const AGAIN: usize = 16;
/// The same to one backend.
const AGAIN_PER_BACKEND: usize = 2;

/// The places.
#[derive(Debug)]
pub(super) struct Gate {
    places: Places,
    unheard: Arc<Semaphore>,
    large: Arc<Semaphore>,
    backends: Mutex<HashMap<String, Weak<Backend>>>,
}

#[derive(Debug)]
struct Places {
    fresh: Arc<Semaphore>,
    again: Arc<Semaphore>,
}

impl Places {
    fn new(fresh: usize, again: usize) -> Self {
        Self {
            fresh: Arc::new(Semaphore::new(fresh)),
            again: Arc::new(Semaphore::new(again)),
        }
    }

    async fn take(&self, again: bool) -> Option<OwnedSemaphorePermit> {
        take(if again { &self.again } else { &self.fresh }).await
    }
}

async fn take(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // Nobody closes a semaphore here.
    Arc::clone(places).acquire_owned().await.ok()
}

/// A backend: scheme, host and port.
#[derive(Debug)]
pub(super) struct Backend {
    places: Places,
    /// Its own, whatever becomes of others.
    own: Arc<Semaphore>,
    /// How often it came back after it had failed everybody.
    recoveries: AtomicU64,
    /// Attempts in a row that failed, whoever's.
    failures: AtomicU32,
    /// It has answered at least once.
    heard: AtomicBool,
}

impl Backend {
    /// Remembers how an attempt went.
    pub(super) fn answered(&self, well: bool) {
        if well {
            if self.failures.swap(0, Ordering::Relaxed) >= FAILS {
                self.recoveries.fetch_add(1, Ordering::Relaxed);
            }
            self.heard.store(true, Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells failures from before the backend came back from those since.
    pub(super) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Relaxed)
    }
}

/// A place; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Place {
    _backend: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
    _large: Option<OwnedSemaphorePermit>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            places: Places::new(FRESH, AGAIN),
            unheard: Arc::new(Semaphore::new(UNHEARD)),
            large: Arc::new(Semaphore::new(LARGE)),
            backends: Mutex::default(),
        }
    }

    /// The backend that a URL leads to.
    pub(super) fn backend(&self, url: &Url) -> Arc<Backend> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = origin(url);
        if let Some(backend) = backends.get(&origin).and_then(Weak::upgrade) {
            return backend;
        }
        backends.retain(|_, backend| backend.strong_count() > 0);
        let backend = Arc::new(Backend {
            places: Places::new(FRESH_PER_BACKEND, AGAIN_PER_BACKEND),
            own: Arc::new(Semaphore::new(1)),
            recoveries: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            heard: AtomicBool::new(false),
        });
        backends.insert(origin, Arc::downgrade(&backend));
        backend
    }

    /// Waits for a place; `failed` says how the caller's last attempt went, `large` that its bodies are.
    pub(super) async fn enter(&self, backend: &Backend, failed: bool, large: bool) -> Place {
        // The backend's own place first: whoever waits for that must not keep another backend out.
        let own = backend.places.take(failed).await;
        // And before one of all: whoever waits for this must not keep small bodies out.
        let large = if large { take(&self.large).await } else { None };
        let failures = backend.failures.load(Ordering::Relaxed);
        let heard = backend.heard.load(Ordering::Relaxed);
        let all = match failures {
            0 if !heard => take(&self.unheard).await,
            0..FAILS if heard => tokio::select! {
                biased;
                own = take(&backend.own) => own,
                place = self.places.take(false) => place,
            },
            _ => self.places.take(true).await,
        };
        Place {
            _large: large,
            _backend: own,
            _all: all,
        }
    }
}

/// What may be shown of a URL: its path and query may be the secret.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use std::time::Duration;

    async fn comes_in(gate: &Gate, backend: &Backend, failed: bool) -> Option<Place> {
        tokio::time::timeout(Duration::from_millis(20), gate.enter(backend, failed, false))
            .await
            .ok()
    }

    #[tokio::test]
    async fn backends_that_hang_leave_room_for_one_that_does_not() {
        let gate = Gate::new();
        let url = |port: usize| Url::parse(&format!("http://127.0.0.1:{port}/x")).unwrap();
        let dead: Vec<_> = (1..40).map(|port| gate.backend(&url(port))).collect();
        let mut hang = Vec::new();
        for backend in &dead {
            (0..FAILS).for_each(|_| backend.answered(false));
            for _ in 0..FRESH_PER_BACKEND {
                if let Some(place) = comes_in(&gate, backend, true).await {
                    hang.push(place);
                } else {
                    break;
                }
            }
            if hang.len() == AGAIN {
                break;
            }
        }
        assert_eq!(hang.len(), AGAIN);
        let healthy = gate.backend(&url(9_999));
        assert!(comes_in(&gate, &healthy, false).await.is_some());
        healthy.answered(true);
        healthy.answered(false);
        assert!(
            comes_in(&gate, &healthy, true).await.is_some(),
            "one accident is forgiven"
        );
        assert!(comes_in(&gate, &dead[0], true).await.is_none());
        drop(hang);
        assert!(comes_in(&gate, &dead[0], true).await.is_some());
    }

    #[tokio::test]
    async fn large_bodies_that_wait_keep_no_small_one_out() {
        let gate = Gate::new();
        let backends: Vec<_> = (1..80)
            .map(|port| gate.backend(&Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap()))
            .collect();
        let mut wait = futures_util::stream::FuturesUnordered::new();
        wait.extend(backends.iter().map(|backend| gate.enter(backend, false, true)));
        let mut inside = Vec::new();
        while let Ok(Some(place)) = tokio::time::timeout(Duration::from_millis(20), wait.next()).await {
            inside.push(place);
        }
        assert_eq!(inside.len(), LARGE);
        let healthy = gate.backend(&Url::parse("http://127.0.0.1:9999/").unwrap());
        assert!(comes_in(&gate, &healthy, false).await.is_some());
    }

    #[tokio::test]
    async fn a_session_that_fails_leaves_room_for_others_at_the_same_backend() {
        let gate = Gate::new();
        let backend = gate.backend(&Url::parse("https://b.example/secret").unwrap());
        assert!(Arc::ptr_eq(
            &backend,
            &gate.backend(&Url::parse("https://b.example/other?q").unwrap())
        ));
        let mut hang = Vec::new();
        while let Some(place) = comes_in(&gate, &backend, true).await {
            hang.push(place);
        }
        assert_eq!(hang.len(), AGAIN_PER_BACKEND);
        assert!(comes_in(&gate, &backend, false).await.is_some());
    }

    #[test]
    fn of_a_url_only_scheme_host_and_port_are_shown() {
        let url = Url::parse("https://user:pass@hooks.example:444/T0/secret?k=v").unwrap();
        assert_eq!(origin(&url), "https://hooks.example:444");
    }
}
