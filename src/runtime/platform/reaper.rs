//! Reaping orphans, where this process gets them: as the first process of a container, or as a subreaper.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use promptd_sys as sys;

/// One look at all processes serves all that end within this time.
const INTERVAL: Duration = Duration::from_millis(100);

/// Reaps processes that nobody waits for, as they end. Ends at once where others' orphans go to another process.
pub(crate) async fn reap_orphans() {
    if !sys::adopts_orphans() {
        return;
    }
    let mut child_ended = match signal(SignalKind::child()) {
        Ok(child_ended) => child_ended,
        Err(error) => {
            tracing::error!(%error, "orphans are not reaped: SIGCHLD cannot be received");
            return;
        }
    };
    loop {
        // Also those that ended before this began.
        if tokio::task::spawn_blocking(sys::reap_orphans).await.is_err() {
            return;
        }
        child_ended.recv().await;
        tokio::time::sleep(INTERVAL).await;
    }
}
