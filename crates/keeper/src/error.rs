//! Why a keeper cannot start.

use std::io;

use promptd_journal::WriteError;

/// Why a keeper cannot start. Its exit code tells the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error("another keeper is running for this turn")]
    AlreadyRunning,
    #[error("cannot read the task from standard input; a keeper is started by the server, not by hand")]
    Spec(#[source] io::Error),
    #[error("cannot prepare")]
    System(#[source] io::Error),
    #[error(transparent)]
    Journal(#[from] WriteError),
}
