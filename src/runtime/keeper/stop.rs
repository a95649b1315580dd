//! Having a keeper end its turn's process tree.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::client;
use crate::runtime::keeper::handle::KeeperHandle;
use promptd_keeper::Request;
use promptd_model::Cause;

/// How much longer than the grace a keeper may take: its sweeps, and five seconds for processes that hang.
pub(crate) const KEEPER_SLACK: Duration = Duration::from_secs(8);

/// How long an interrupted agent gets before SIGTERM and SIGKILL.
pub(crate) const INTERRUPT_GRACE: Duration = Duration::from_secs(10);

/// How often a keeper is asked: more often than any chain of keepers is replaced.
const TRIES: u32 = 20;

/// After so many a keeper that lives cannot be reached.
const TRIES_OF_ONE_KEEPER: u32 = 7;

/// Ends the tree; a keeper that does not answer is replaced, and its successor asked. Answers how many processes
/// survived.
pub(crate) async fn stop_tree(
    keeper: &KeeperHandle,
    grace: Duration,
    cause: Option<Cause>,
) -> Result<u32, RuntimeError> {
    let request = Request::Stop {
        grace: grace.as_secs_f64(),
        cause,
    };
    let timeout = grace + KEEPER_SLACK;
    for attempt in 0..TRIES {
        keeper.wake();
        tokio::select! {
            answer = client::ask(&keeper.paths, &request, &[], timeout) => match answer {
                Ok(response) => return Ok(response.survivors.unwrap_or(0)),
                Err(error) if error.kind() == ErrorKind::TimedOut => keeper.kill(),
                // Its socket was removed, or hangs: a successor makes a new one.
                Err(_) if attempt == TRIES_OF_ONE_KEEPER => keeper.kill(),
                // Not there yet, or not there any more: its successor is being started.
                Err(_) => tokio::time::sleep(Duration::from_millis(20 << attempt.min(5))).await,
            },
            () = keeper.tree_ended() => return Ok(0),
        }
    }
    Err(RuntimeError::KeeperSilent {
        id: keeper.session.clone(),
        turn: keeper.turn,
    })
}

/// The same without waiting for it.
pub(crate) fn stop_tree_later(keeper: &Arc<KeeperHandle>, grace: Duration, cause: Option<Cause>) {
    let keeper = Arc::clone(keeper);
    tokio::spawn(async move {
        if let Err(error) = stop_tree(&keeper, grace, cause).await {
            tracing::warn!(session = keeper.session, %error, "an agent could not be ended");
        }
    });
}
