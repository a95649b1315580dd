//! Work that waits for a disk or a file lock, away from the async threads.

use crate::runtime::error::RuntimeError;

/// Runs `work` on a thread that may block.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    // A thread that panicked, or was never started, means that the server is ending.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| RuntimeError::ShuttingDown)?
}
