//! Starting a turn, and adopting those that a former server started.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::blocking::run_blocking;
use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::client;
use crate::runtime::launch::catalog;
use crate::runtime::launch::inputs::{Sources, TurnInputs};
use crate::runtime::launch::prepare::prepare;
use crate::runtime::session::handle::Session;
use crate::runtime::settings::Settings;
use crate::runtime::turn::outcome::cancelled;
use crate::runtime::turn::parts::TurnParts;
use crate::runtime::turn::supervisor::{Adopted, supervise};
use promptd_keeper::{Launch, Spec};
use promptd_model::{Body, Cause, Exited, SessionState, TurnPhase, TurnState};
use promptd_sys as sys;

/// Starts an attempt, unless the turn has been cancelled meanwhile, and waits until it is in the journal. Answers the
/// inputs of the launch, where there was one.
pub(crate) async fn start(
    parts: &TurnParts,
    session: &Arc<Session>,
    turn: &TurnState,
    attempt: u32,
) -> Result<Option<TurnInputs>, RuntimeError> {
    let started = launch(parts, session, turn, attempt).await;
    session.control.finish_start();
    started
}

async fn launch(
    parts: &TurnParts,
    session: &Arc<Session>,
    turn: &TurnState,
    attempt: u32,
) -> Result<Option<TurnInputs>, RuntimeError> {
    let mut changes = session.changes();
    let settings = parts.settings.get();
    let prepared = {
        let (session, turn, settings) = (Arc::clone(session), turn.clone(), Arc::clone(&settings));
        let (variables, links) = (parts.access.variables(), Arc::clone(&parts.links));
        run_blocking(move || {
            let from = Sources {
                settings: &settings,
                variables: &variables,
                links: &links,
                session: &session,
            };
            prepare_if_due(&from, &turn)
        })
    };
    let Some((launch, inputs)) = prepared.await? else {
        return Ok(None);
    };
    let keeper = supervise(session, spec(&settings, session, turn, attempt, Some(launch)), None);
    let in_journal = |state: &Arc<SessionState>| state.turn(turn.turn).is_none_or(|turn| !turn.is_waiting());
    let is_silent = tokio::select! {
        _ = changes.wait_for(in_journal) => false,
        // It gave up, or ended before we saw its record.
        () = keeper.tree_ended() => !in_journal(&session.refresh()?),
    };
    if is_silent {
        return Err(RuntimeError::KeeperSilent {
            id: session.id().to_string(),
            turn: turn.turn,
        });
    }
    Ok(Some(inputs))
}

/// What to start; `None` when the turn is not due any more, or cannot be started, which is then in the journal.
fn prepare_if_due(from: &Sources<'_>, turn: &TurnState) -> Result<Option<(Launch, TurnInputs)>, RuntimeError> {
    let (session, number) = (from.session, turn.turn);
    let agent = catalog::find_agent(from.settings, session.agent());
    let resumes = agent.is_some_and(|agent| agent.capabilities().resume);
    let is_due = session.journal.transact(|state| {
        if !state.turn(number).is_some_and(TurnState::is_waiting) {
            return (Vec::new(), false);
        }
        match session.control.begin_start(number) {
            Ok(()) => {
                // An agent that was interrupted early may have stored nothing.
                let turns = if resumes {
                    state.forgotten_before(number)
                } else {
                    Vec::new()
                };
                let is_known = turns.is_empty() || state.turn(number).is_some_and(|turn| turn.forgotten == turns);
                let forgotten = (!is_known).then_some((number, Body::Forgotten { turns }));
                (forgotten.into_iter().collect(), true)
            }
            Err(cause) => (vec![(number, cancelled(cause))], false),
        }
    })?;
    if !is_due {
        return Ok(None);
    }
    let error = match prepare(from, turn) {
        Ok(prepared) => return Ok(Some(prepared)),
        Err(error) => error,
    };
    // Accepted, and yet it cannot be started: the program was removed since, or the disk is full.
    let cause = match &error {
        RuntimeError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => Cause::DiskFull,
        RuntimeError::SessionLost { .. } => Cause::ConversationLost,
        _ => Cause::SpawnFailed,
    };
    let exited = Exited {
        cause: Some(cause),
        error: Some(error.to_string()),
        ..Exited::default()
    };
    session
        .journal
        .transact(|_| (vec![(number, Body::Exited(exited))], ()))?;
    Ok(None)
}

fn spec(settings: &Settings, session: &Session, turn: &TurnState, attempt: u32, launch: Option<Launch>) -> Spec {
    let request = session.request();
    let seconds = |default: Option<Duration>| default.map(|default| default.as_secs_f64());
    Spec {
        folder: session.folder.clone(),
        session: session.id().to_string(),
        turn: turn.turn,
        attempt,
        launch,
        format: catalog::special_format(settings, session, turn),
        journal_end: session.journal.folded_to(),
        offsets: turn.offsets.map(|offset| offset.to),
        timeout: request.timeout.or(seconds(settings.default_timeout)),
        idle_timeout: request.idle_timeout.or(seconds(settings.default_idle_timeout)),
        session_bytes: settings.limits.session_bytes,
        min_free_bytes: settings.limits.min_free_bytes,
        files: sys::inherited_file_limit(),
    }
}

/// Supervises the turns that a former server left with living processes.
pub(crate) fn adopt(parts: &TurnParts, session: &Arc<Session>) {
    let state = session.state();
    let running = state
        .current()
        .filter(|turn| turn.phase == TurnPhase::Running)
        .map(|turn| turn.turn);
    let mut turns = client::turns_with_files(&session.folder);
    turns.extend(running);
    turns.sort_unstable();
    turns.dedup();
    for turn in turns.into_iter().filter_map(|turn| state.turn(turn)) {
        // A turn that waits to be started is started by the driver; its keeper finds what is there.
        if turn.started.is_some() {
            let adopted = Adopted {
                epoch: parts.machine.epoch(),
                running: running == Some(turn.turn),
            };
            let spec = spec(&parts.settings.get(), session, turn, turn.attempt, None);
            supervise(session, spec, Some(adopted)).hold_stdin();
        }
    }
}
