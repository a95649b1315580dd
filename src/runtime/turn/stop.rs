//! Ending turns, interrupting them and writing to their agents, for callers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::client;
use crate::runtime::keeper::stop::{INTERRUPT_GRACE, KEEPER_SLACK, stop_tree, stop_tree_later};
use crate::runtime::session::handle::Session;
use crate::runtime::turn::abandon::abandon;
use crate::runtime::turn::outcome::cancelled;
use promptd_keeper::Request;
use promptd_model::{Body, Cause, SessionState, StdinMode, TurnPhase, len64};

/// How long a turn that is being started may take until it can be ended.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an agent may take to read its input.
const INPUT_TIMEOUT: Duration = Duration::from_hours(1);

/// Ends the session's turns, queued ones too, and their whole process trees, also what earlier turns left; answers how
/// many processes survived.
pub(crate) async fn stop(session: &Arc<Session>, grace: Duration) -> Result<u32, RuntimeError> {
    // First of all, and without the disk: from now on nothing starts and nothing is tried again.
    let state = match session.refresh() {
        Ok(state) => state,
        Err(error) if error.is_lasting() => {
            let reason = format!("{}: {}", error.path.display(), error.source);
            return Ok(abandon(session, reason).await);
        }
        Err(_) => session.state(),
    };
    let last = state.next_turn().saturating_sub(1);
    session.control.end_turns(last, Cause::Stopped);
    let cancelled = cancel_waiting(session, Cause::Stopped, |_| true).await;
    let mut survivors = 0_u32;
    for keeper in session.control.keepers() {
        let more = stop_tree(&keeper, grace, Some(Cause::Stopped)).await?;
        survivors = survivors.saturating_add(more);
    }
    if session.control.lost().is_some() {
        // Its processes are ended, and there is no journal that could say so.
        return Ok(survivors);
    }
    let mut changes = session.changes();
    session.refresh()?;
    // Written by the driver as soon as it sees the exit.
    let ended = changes.wait_for(|state| state.current().is_none() || survivors > 0);
    let _late = tokio::time::timeout(KEEPER_SLACK, ended).await;
    cancelled.map(|()| survivors)
}

/// Ends the turns of all these sessions, for a shutdown that does not leave agents running.
pub(crate) async fn stop_all(sessions: Vec<Arc<Session>>, grace: Duration) {
    let busy = sessions.iter().filter(|session| session.control.is_busy());
    let stops: Vec<_> = busy.map(|session| stop(session, grace)).collect();
    for stopped in futures_util::future::join_all(stops).await {
        if let Err(error) = stopped {
            tracing::error!(%error, "a session could not be stopped");
        }
    }
}

/// Asks the agent to end this turn, and ends those of the `queued` ones that are still queued; the session stays.
pub(crate) async fn interrupt(
    session: &Arc<Session>,
    queued: BTreeSet<u32>,
    has_dialog: bool,
) -> Result<(), RuntimeError> {
    let state = session.refresh()?;
    let Some(turn) = state.current().map(|turn| turn.turn) else {
        let id = session.id().to_string();
        return Err(RuntimeError::NotRunning { id });
    };
    session.control.end_turns(turn, Cause::Interrupted);
    let wanted = move |waits: u32| waits == turn || queued.contains(&waits);
    cancel_waiting(session, Cause::Interrupted, wanted).await?;
    let Some(keeper) = session.control.keeper(turn) else {
        return Ok(());
    };
    let state = session.refresh()?;
    let agent_runs = state.turn(turn).is_some_and(|turn| turn.setup.is_none());
    if agent_runs && has_dialog {
        // In its own protocol, by the turn's loop.
        session.wake_turn.notify_one();
    } else {
        stop_tree_later(&keeper, INTERRUPT_GRACE, Some(Cause::Interrupted));
    }
    Ok(())
}

/// Ends one turn, whether it runs or waits, and no other one; nothing, where it has ended.
pub(crate) async fn cancel(session: &Arc<Session>, turn: u32, has_dialog: bool) -> Result<(), RuntimeError> {
    cancel_waiting(session, Cause::Interrupted, move |waits| waits == turn).await?;
    // It may run, or have just begun to.
    let is_current = session.refresh()?.current().is_some_and(|current| current.turn == turn);
    if !is_current {
        return Ok(());
    }
    match interrupt(session, BTreeSet::new(), has_dialog).await {
        Err(RuntimeError::NotRunning { .. }) => Ok(()),
        interrupted => interrupted,
    }
}

/// Writes to the agent's standard input.
pub(crate) async fn input(session: &Session, bytes: &[u8], close: bool, has_dialog: bool) -> Result<(), RuntimeError> {
    let id = session.id().to_string();
    if has_dialog {
        return Err(RuntimeError::Conversation { id });
    }
    if session.request().stdin != Some(StdinMode::Open) {
        return Err(RuntimeError::StdinClosed { id });
    }
    let state = session.refresh()?;
    let running = state.current().filter(|turn| turn.phase == TurnPhase::Running);
    let Some(keeper) = running.and_then(|turn| session.control.keeper(turn.turn)) else {
        return Err(RuntimeError::NotRunning { id });
    };
    let request = Request::Input {
        length: len64(bytes),
        close,
        at: None,
    };
    let response = client::ask(&keeper.paths, &request, bytes, INPUT_TIMEOUT).await;
    let turn = keeper.turn;
    let response = response.map_err(|_| RuntimeError::KeeperSilent { id: id.clone(), turn })?;
    if response.error.is_some() {
        return Err(RuntimeError::StdinClosed { id });
    }
    if close {
        keeper.release_stdin();
    }
    Ok(())
}

/// Ends those of the wanted turns that have no process yet. A turn that is just being started is waited for, since its
/// process cannot be called back.
async fn cancel_waiting(
    session: &Arc<Session>,
    cause: Cause,
    wanted: impl Fn(u32) -> bool + Send + 'static,
) -> Result<(), RuntimeError> {
    let mut changes = session.changes();
    let written = session
        .transact(move |session, state| {
            let starting = session.control.starting();
            let is_wanted = |turn: u32| starting != Some(turn) && wanted(turn);
            let waiting = state
                .turns
                .iter()
                .filter(|turn| turn.is_waiting() && is_wanted(turn.turn));
            let ends: Vec<(u32, Body)> = waiting.map(|turn| (turn.turn, cancelled(cause))).collect();
            (ends, ())
        })
        .await;
    if let Some(turn) = session.control.starting() {
        let in_journal = |state: &Arc<SessionState>| state.turn(turn).is_none_or(|turn| !turn.is_waiting());
        let _late = tokio::time::timeout(START_TIMEOUT, changes.wait_for(in_journal)).await;
    }
    written
}
