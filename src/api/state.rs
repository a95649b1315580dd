//! What all handlers share.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, Semaphore, watch};

use crate::api::http::body::memory::BodyMemory;
use crate::api::http::problem::Problem;
use crate::api::http::rate::RateLimiter;
use crate::runtime::{Runtime, Session};

/// Requests for artifacts that are worked on at once. More would only slow each other down, and the agents.
pub(crate) const ARTIFACT_SLOTS: usize = 4;

/// The state of the API.
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) runtime: Arc<Runtime>,
    rate: RateLimiter,
    /// For bodies that are being read, and messages.
    pub(crate) body_memory: BodyMemory,
    pub(crate) artifact_slots: Arc<Semaphore>,
    /// For the sessions that ACP clients have open, beyond the first one of each connection.
    pub(crate) followed: Arc<Semaphore>,
    /// Held while the session that the clients of `/ws` share is chosen or configured.
    pub(crate) sdk_session_lock: Mutex<()>,
    /// Every open WebSocket holds a receiver, so that a shutdown can wait for them.
    pub(crate) websockets: watch::Sender<()>,
}

pub(crate) type SharedState = Arc<AppState>;

impl AppState {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            body_memory: BodyMemory::new(runtime.settings().limits.body_bytes),
            followed: Arc::new(Semaphore::new(runtime.open_files().followed)),
            runtime,
            rate: RateLimiter::default(),
            artifact_slots: Arc::new(Semaphore::new(ARTIFACT_SLOTS)),
            sdk_session_lock: Mutex::default(),
            websockets: watch::Sender::new(()),
        }
    }

    /// The most bytes of a body or a WebSocket message.
    pub(crate) fn body_limit(&self) -> usize {
        self.runtime.settings().limits.body_bytes
    }

    /// Counts a session or a prompt against the rate limits.
    pub(crate) fn check_rate(&self) -> Result<(), Problem> {
        self.rate.take(&self.runtime.settings().limits, Instant::now())
    }

    /// Masks secrets in a refusal that does not pass through the middleware.
    pub(crate) fn masked(&self, session: Option<&Session>, problem: Problem) -> Problem {
        let masker = match session {
            Some(session) => self.runtime.masks.of_session(session),
            None => self.runtime.masks.of_server(),
        };
        problem.masked(masker.as_deref())
    }
}
