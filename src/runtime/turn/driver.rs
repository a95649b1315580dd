//! Driving a session: from its queued prompts to their ends, one turn after the other.
//!
//! What a turn is stands in the journal alone: the driver looks at the session's state, does what is due, and waits
//! for the state to change. Only its place in the queue and the duties of the moment are memory, and a restart finds
//! both anew.

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::access::environment::Variables;
use crate::runtime::launch::links::Links;
use crate::runtime::launch::prepare;
use crate::runtime::session::Session;
use crate::runtime::turn::keeper_client;
use crate::runtime::turn::queue::{Place, Ticket};
use crate::runtime::turn::run::attend;
use crate::runtime::turn::supervisor::{Adopted, Tender};
use crate::runtime::{Runtime, RuntimeError, Settings, on_a_thread};
use promptd_keeper::{Launch, Spec};
use promptd_model::{
    Body, Cause, ExitEvidence, Exited, Observation, SessionState, TurnPhase, TurnState, decide_outcome,
};

/// An error that nobody can do anything about is tried again after this long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Drives a session until all its turns are over.
pub(crate) async fn drive(
    runtime: Arc<Runtime>,
    session: Arc<Session>,
    mut ticket: Option<Ticket>,
    mut place: Option<Place>,
) {
    let watch = runtime.watcher.watch_for_state(&session.journal());
    let follow = tokio::spawn(follow_journal(watch, Arc::clone(&session)));
    let through = loop {
        match step(&runtime, &session, &mut ticket, &mut place).await {
            Ok(true) => {}
            Ok(false) => {
                let mut duties = session.duties();
                // A prompt may have come since; whoever appended it saw that we are still here.
                if session.state().current().is_none() || duties.deleted {
                    duties.driven = false;
                    break session.state().next_turn().saturating_sub(1);
                }
            }
            Err(_) if session.duties().deleted => break u32::MAX,
            Err(error) => {
                tracing::error!(session = %session.id(), %error, "a turn could not be moved on; trying again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    };
    drop((place, ticket));
    let (links, id) = (Arc::clone(&runtime.links), session.id().clone());
    let released = on_a_thread(move || {
        links.release(&id, through);
        Ok(())
    });
    drop(released.await);
    // What was left behind may go on speaking, and followers' `last_seq` should know.
    let tenders: Vec<_> = session.duties().tenders.values().cloned().collect();
    for tender in tenders {
        tender.gone().await;
    }
    follow.abort();
    let _last_words = session.refresh();
    runtime.deliver(&session);
    runtime.at_rest.notify_one();
}

/// Folds the journal in as it grows.
async fn follow_journal(mut watch: promptd_follow::Watch, session: Arc<Session>) {
    loop {
        if let Err(error) = session.refresh() {
            tracing::error!(session = %session.id(), error = %error.source, "the journal cannot be read");
            tokio::time::sleep(TRY_AGAIN).await;
            // There may be no further event to wait for.
            continue;
        }
        watch.changed().await;
    }
}

/// Does what is due; false when no turn is left.
async fn step(
    runtime: &Arc<Runtime>,
    session: &Arc<Session>,
    ticket: &mut Option<Ticket>,
    place: &mut Option<Place>,
) -> Result<bool, RuntimeError> {
    let mut changes = session.changes();
    let state = session.refresh()?;
    changes.mark_unchanged();
    let Some(turn) = state.current() else { return Ok(false) };
    if session.duties().deleted {
        return Ok(false);
    }
    match &turn.phase {
        TurnPhase::Queued => {
            if place.is_none() {
                let line = ticket.get_or_insert_with(|| runtime.queue.line_up(session.id().clone()));
                tokio::select! {
                    mine = line.place() => *place = mine,
                    // The turn may have been cancelled while it waited.
                    _ = changes.changed() => return Ok(true),
                }
                *ticket = None;
            }
            begin(runtime, session, turn, 1).await?;
        }
        TurnPhase::Retrying { attempt, delay } => {
            hold_place(runtime, ticket, place);
            let delay = Duration::try_from_secs_f64(*delay).unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(delay) => begin(runtime, session, turn, *attempt).await?,
                _ = changes.changed() => {}
            }
        }
        TurnPhase::Running | TurnPhase::Exited => {
            hold_place(runtime, ticket, place);
            attend(runtime, session, turn.turn).await?;
            // The next turn lines up like everybody else.
            if session
                .state()
                .turn(turn.turn)
                .is_some_and(|turn| turn.ended().is_some())
            {
                *place = None;
            }
        }
        TurnPhase::Ended(_) => return Ok(false),
    }
    Ok(true)
}

/// Sees to it that a turn that runs has one place, and no second one in the queue.
fn hold_place(runtime: &Arc<Runtime>, ticket: &mut Option<Ticket>, place: &mut Option<Place>) {
    // It may have lined up before its journal told that a former server had started it.
    let waited_for = ticket.take().and_then(|mut ticket| ticket.place_now());
    if place.is_none() {
        *place = Some(waited_for.unwrap_or_else(|| runtime.queue.adopt()));
    }
}

/// Starts an attempt, unless the turn has been cancelled meanwhile, and waits until the journal speaks of it.
async fn begin(
    runtime: &Arc<Runtime>,
    session: &Arc<Session>,
    turn: &TurnState,
    attempt: u32,
) -> Result<(), RuntimeError> {
    let mut changes = session.changes();
    let settings = runtime.settings();
    let prepare = {
        let (session, turn, settings) = (Arc::clone(session), turn.clone(), Arc::clone(&settings));
        let (variables, links) = (runtime.variables(), Arc::clone(&runtime.links));
        move || Ok(prepare(&settings, &variables, &links, &session, &turn)?.map(|launch| variables.under(launch)))
    };
    let prepared = on_a_thread(prepare).await;
    let tend = |launch| {
        let spec = spec(&settings, session, turn, attempt, Some(launch));
        Tender::begin(session, spec, None)
    };
    let mut begun = prepared.map(|launch| launch.map(tend));
    if let Ok(Some(tender)) = &begun {
        let spoken_of = |state: &Arc<SessionState>| state.turn(turn.turn).is_none_or(|turn| !turn.is_waiting());
        let silent = tokio::select! {
            _ = changes.wait_for(spoken_of) => false,
            // It gave up, or was done faster than we are told.
            () = tender.gone() => !spoken_of(&session.refresh()?),
        };
        if silent {
            let id = session.id().to_string();
            begun = Err(RuntimeError::KeeperSilent { id, turn: turn.turn });
        }
    }
    session.duties().starting = None;
    begun.map(drop)
}

/// What to start; `None` when the turn is not due any more, or cannot be started and has been told so.
fn prepare(
    settings: &Settings,
    variables: &Variables,
    links: &Links,
    session: &Session,
    turn: &TurnState,
) -> Result<Option<Launch>, RuntimeError> {
    let number = turn.turn;
    let still_due = session.transact_here(move |session, state| {
        if !state.turn(number).is_some_and(TurnState::is_waiting) {
            return (Vec::new(), false);
        }
        let mut duties = session.duties();
        if let Some(cause) = duties.ended_by(number) {
            return (vec![(number, cancelled(cause))], false);
        }
        duties.starting = Some(number);
        (Vec::new(), true)
    })?;
    if !still_due {
        return Ok(None);
    }
    let error = match prepare::prepare(settings, variables, links, session, turn) {
        Ok(launch) => return Ok(Some(launch)),
        Err(error) => error,
    };
    // Accepted, and yet it cannot be started: the program was removed since, or the disk refuses.
    let full = matches!(&error, RuntimeError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    let cause = Some(if full { Cause::DiskFull } else { Cause::SpawnFailed });
    let error = Some(error.to_string());
    let exited = Body::Exited(Exited {
        cause,
        error,
        ..Exited::default()
    });
    session.transact_here(move |_, _| (vec![(number, exited)], ()))?;
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
        journal_end: session.folded_to(),
        offsets: turn.offsets.map(|offset| offset.to),
        timeout: request.timeout.or(seconds(settings.default_timeout)),
        idle_timeout: request.idle_timeout.or(seconds(settings.default_idle_timeout)),
        session_bytes: settings.limits.session_bytes,
        min_free_bytes: settings.limits.min_free_bytes,
    }
}

/// Tends the turns of a session that a former server left with living processes.
pub(crate) fn adopt(runtime: &Runtime, session: &Arc<Session>) {
    let state = session.state();
    let running = state
        .current()
        .filter(|turn| turn.phase == TurnPhase::Running)
        .map(|turn| turn.turn);
    let mut turns = keeper_client::turns_with_files(&session.folder);
    turns.extend(running);
    turns.sort_unstable();
    turns.dedup();
    for turn in turns.into_iter().filter_map(|turn| state.turn(turn)) {
        // A turn that waits to be started is started by the driver; its keeper finds what is there.
        if turn.started.is_some() {
            let adopted = Adopted {
                epoch: runtime.epoch(),
                running: running == Some(turn.turn),
            };
            let spec = spec(&runtime.settings(), session, turn, turn.attempt, None);
            Tender::begin(session, spec, Some(adopted)).hold_stdin();
        }
    }
}

/// A turn that ends without having run.
pub(crate) fn cancelled(cause: Cause) -> Body {
    let seen = Observation::default();
    let exited = Exited {
        cause: Some(cause),
        error: Some("it was cancelled before it ran".to_owned()),
        ..Exited::default()
    };
    Body::TurnEnded(decide_outcome(
        ExitEvidence {
            exited: &exited,
            final_expected: false,
            launcher_died: false,
        },
        &seen,
    ))
}
