//! The requests that are being worked on, so that `$/cancel_request` finds them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_client_protocol_schema::v1::{Error, ErrorCode, RequestId};
use tokio::sync::Notify;

use super::message::rpc_error;

/// The requests of a connection that wait for something other than a turn.
#[derive(Default)]
pub(super) struct RunningRequests(Mutex<Vec<Arc<Running>>>);

/// One of them.
pub(super) struct Running {
    id: RequestId,
    is_cancelled: AtomicBool,
    cancelled: Notify,
}

/// One of them, until it is dropped.
pub(super) struct RunningGuard {
    requests: Arc<RunningRequests>,
    running: Arc<Running>,
}

impl RunningRequests {
    pub(super) fn begin(self: &Arc<Self>, id: &RequestId) -> RunningGuard {
        let running = Arc::new(Running {
            id: id.clone(),
            is_cancelled: AtomicBool::new(false),
            cancelled: Notify::new(),
        });
        self.lock().push(Arc::clone(&running));
        RunningGuard {
            requests: Arc::clone(self),
            running,
        }
    }

    /// Cancels the request of this id.
    pub(super) fn cancel(&self, id: &RequestId) {
        for running in self.lock().iter().filter(|running| running.id == *id) {
            running.is_cancelled.store(true, Ordering::Relaxed);
            running.cancelled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningGuard {
    pub(super) fn is_cancelled(&self) -> bool {
        self.running.is_cancelled.load(Ordering::Relaxed)
    }

    /// Waits until the client cancels the request.
    pub(super) async fn cancelled(&self) {
        self.running.cancelled.notified().await;
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.requests
            .lock()
            .retain(|running| !Arc::ptr_eq(running, &self.running));
    }
}

/// The answer to a request that its client has cancelled.
pub(super) fn cancelled_error() -> Error {
    rpc_error(ErrorCode::RequestCancelled, "the request was cancelled")
}
