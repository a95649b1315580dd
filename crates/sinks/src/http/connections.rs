//! Limits on concurrent connections: a dead backend gets few, and a healthy one never waits for it.
//!
//! An attempt needs a permit of its backend and a permit of the server. Both have separate pools for first attempts and
//! for retries, and the pools for retries are small. So thousands of sessions with a dead backend use a bounded number of
//! connections, and a bounded amount of memory for bodies. Each backend that answers has one reserved permit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use reqwest::Url;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections to all backends that answer: with bodies of 256 KiB, 16 MiB of memory.
const HEALTHY: usize = 64;
/// Concurrent attempts with bodies of many megabytes.
const LARGE: usize = 2;
/// A backend with this many consecutive failures is treated as failing.
const FAILING_AFTER: u32 = 3;
/// Connections to all backends that have never answered.
const UNKNOWN: usize = 128;
/// First attempts to one backend.
const HEALTHY_PER_BACKEND: usize = 8;
/// Connections for retries and to failing backends.
const RETRIES: usize = 16;
/// Retries to one backend.
const RETRIES_PER_BACKEND: usize = 2;
/// All of them together.
const ALL: usize = HEALTHY + UNKNOWN + RETRIES;

/// The connection limits of a server.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    pools: Pools,
    unknown: Arc<Semaphore>,
    large: Arc<Semaphore>,
    backends: Mutex<HashMap<String, Weak<Backend>>>,
}

/// A pool for first attempts, and one for retries.
#[derive(Debug)]
struct Pools {
    healthy: Arc<Semaphore>,
    retries: Arc<Semaphore>,
}

impl Pools {
    fn new(healthy: usize, retries: usize) -> Self {
        Self {
            healthy: Arc::new(Semaphore::new(healthy)),
            retries: Arc::new(Semaphore::new(retries)),
        }
    }

    async fn acquire(&self, retry: bool) -> Option<OwnedSemaphorePermit> {
        acquire(if retry { &self.retries } else { &self.healthy }).await
    }
}

async fn acquire(pool: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // The semaphores are never closed, so this does not fail.
    Arc::clone(pool).acquire_owned().await.ok()
}

/// A backend: scheme, host and port.
#[derive(Debug)]
pub(crate) struct Backend {
    pools: Pools,
    /// The permit that is reserved for this backend.
    reserved: Arc<Semaphore>,
    /// How often it recovered from failing.
    recoveries: AtomicU64,
    /// Consecutive failures, of any session.
    failures: AtomicU32,
    /// It has answered at least once.
    known: AtomicBool,
}

impl Backend {
    /// Records the result of an attempt.
    pub(crate) fn record_result(&self, success: bool) {
        if success {
            if self.failures.swap(0, Ordering::Relaxed) >= FAILING_AFTER {
                self.recoveries.fetch_add(1, Ordering::Relaxed);
            }
            self.known.store(true, Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts recoveries: a failure before the last recovery is outdated.
    pub(crate) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Relaxed)
    }
}

/// A permit for a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    _backend: Option<OwnedSemaphorePermit>,
    _server: Option<OwnedSemaphorePermit>,
    _large: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimits {
    /// At most `connections`, of which each pool gets its share.
    pub(crate) fn new(connections: usize) -> Self {
        let share = |most: usize| (most.saturating_mul(connections) / ALL).clamp(1, most);
        Self {
            pools: Pools::new(share(HEALTHY), share(RETRIES)),
            unknown: Arc::new(Semaphore::new(share(UNKNOWN))),
            large: Arc::new(Semaphore::new(LARGE)),
            backends: Mutex::default(),
        }
    }

    /// The backend of a URL.
    pub(crate) fn backend(&self, url: &Url) -> Arc<Backend> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = origin(url);
        if let Some(backend) = backends.get(&origin).and_then(Weak::upgrade) {
            return backend;
        }
        backends.retain(|_, backend| backend.strong_count() > 0);
        let backend = Arc::new(Backend {
            pools: Pools::new(HEALTHY_PER_BACKEND, RETRIES_PER_BACKEND),
            reserved: Arc::new(Semaphore::new(1)),
            recoveries: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            known: AtomicBool::new(false),
        });
        backends.insert(origin, Arc::downgrade(&backend));
        backend
    }

    /// Waits for a permit. `retry` means that the caller's last attempt failed, `large` that its bodies are large.
    pub(crate) async fn acquire(&self, backend: &Backend, retry: bool, large: bool) -> ConnectionPermit {
        // The backend's permit first: waiting for it must not block other backends.
        let of_backend = backend.pools.acquire(retry).await;
        // Before the server's permit: waiting for it must not block small bodies.
        let large = if large { acquire(&self.large).await } else { None };
        let failures = backend.failures.load(Ordering::Relaxed);
        let known = backend.known.load(Ordering::Relaxed);
        let of_server = match failures {
            0 if !known => acquire(&self.unknown).await,
            0..FAILING_AFTER if known => tokio::select! {
                biased;
                reserved = acquire(&backend.reserved) => reserved,
                shared = self.pools.acquire(false) => shared,
            },
            _ => self.pools.acquire(true).await,
        };
        ConnectionPermit {
            _large: large,
            _backend: of_backend,
            _server: of_server,
        }
    }
}

/// Scheme, host and port: the parts of a URL that may be shown. Its path and query may be secret.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn try_acquire(limits: &ConnectionLimits, backend: &Backend, retry: bool) -> Option<ConnectionPermit> {
        tokio::time::timeout(Duration::from_millis(20), limits.acquire(backend, retry, false))
            .await
            .ok()
    }

    #[tokio::test]
    async fn hanging_backends_do_not_block_a_healthy_one() {
        let limits = ConnectionLimits::new(ALL);
        let url = |port: usize| Url::parse(&format!("http://127.0.0.1:{port}/x")).unwrap();
        let dead: Vec<_> = (1..40).map(|port| limits.backend(&url(port))).collect();
        let mut hanging = Vec::new();
        for backend in &dead {
            (0..FAILING_AFTER).for_each(|_| backend.record_result(false));
            for _ in 0..HEALTHY_PER_BACKEND {
                if let Some(permit) = try_acquire(&limits, backend, true).await {
                    hanging.push(permit);
                } else {
                    break;
                }
            }
            if hanging.len() == RETRIES {
                break;
            }
        }
        assert_eq!(hanging.len(), RETRIES);
        let healthy = limits.backend(&url(9_999));
        assert!(try_acquire(&limits, &healthy, false).await.is_some());
        healthy.record_result(true);
        healthy.record_result(false);
        assert!(
            try_acquire(&limits, &healthy, true).await.is_some(),
            "a single failure has no effect"
        );
        assert!(try_acquire(&limits, &dead[0], true).await.is_none());
        drop(hanging);
        assert!(try_acquire(&limits, &dead[0], true).await.is_some());
    }

    #[tokio::test]
    async fn waiting_large_bodies_do_not_block_small_ones() {
        let limits = Arc::new(ConnectionLimits::new(ALL));
        let mut waiting = tokio::task::JoinSet::new();
        for port in 1..80 {
            let limits = Arc::clone(&limits);
            waiting.spawn(async move {
                let backend = limits.backend(&Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap());
                limits.acquire(&backend, false, true).await
            });
        }
        let mut acquired = Vec::new();
        while let Ok(Some(permit)) = tokio::time::timeout(Duration::from_millis(20), waiting.join_next()).await {
            acquired.push(permit.unwrap());
        }
        assert_eq!(acquired.len(), LARGE);
        let healthy = limits.backend(&Url::parse("http://127.0.0.1:9999/").unwrap());
        assert!(try_acquire(&limits, &healthy, false).await.is_some());
    }

    #[tokio::test]
    async fn failing_session_does_not_block_others() {
        let limits = ConnectionLimits::new(ALL);
        let backend = limits.backend(&Url::parse("https://b.example/secret").unwrap());
        assert!(Arc::ptr_eq(
            &backend,
            &limits.backend(&Url::parse("https://b.example/other?q").unwrap())
        ));
        let mut hanging = Vec::new();
        while let Some(permit) = try_acquire(&limits, &backend, true).await {
            hanging.push(permit);
        }
        assert_eq!(hanging.len(), RETRIES_PER_BACKEND);
        assert!(try_acquire(&limits, &backend, false).await.is_some());
    }

    #[test]
    fn origin_has_scheme_host_and_port_only() {
        let url = Url::parse("https://user:pass@hooks.example:444/T0/secret?k=v").unwrap();
        assert_eq!(origin(&url), "https://hooks.example:444");
    }
}
