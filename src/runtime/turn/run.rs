//! Staying with a running turn until it has an end, and writing that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::dialog::io::Talk;
use crate::runtime::dialog::observe::{Listener, TurnReader};
use crate::runtime::dialog::state::Conversation;
use crate::runtime::launch::links::Links;
use crate::runtime::launch::prepare;
use crate::runtime::session::Session;
use crate::runtime::turn::stop;
use crate::runtime::turn::supervisor::Tender;
use crate::runtime::{Runtime, RuntimeError, on_a_thread};
use promptd_agents::{Agent, Format};
use promptd_keeper::Request;
use promptd_model::{
    Body, Cause, ExitEvidence, Observation, Status, StopReason, TurnEnded, TurnPhase, TurnState, Usage, decide_outcome,
};

/// A launcher has died and its worker goes on: the turn waits for the worker's final event, but no longer than
/// this after the last line in the agent's own format.
const WORKER_QUIET: Duration = Duration::from_secs(30);

/// An agent has said its final result and does not leave: it is ended so long after its last line.
const LINGER: Duration = Duration::from_secs(10);

/// One that lingers is ended within this.
const LINGER_GRACE: Duration = Duration::from_secs(5);

/// Waking this much too late means that the machine was paused meanwhile.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// Stays with a running turn until it has an end, and writes that.
pub(crate) async fn attend(runtime: &Arc<Runtime>, session: &Arc<Session>, number: u32) -> Result<(), RuntimeError> {
    let tender = session.duties().tenders.get(&number).cloned();
    if let Some(tender) = &tender {
        tender.hold_stdin();
    }
    let agent = prepare::agent(&runtime.settings(), session.agent());
    let permission = session.request().permission.unwrap_or_default();
    let format = agent.as_ref().map(|agent| agent.format(permission));
    let final_expected = format.is_some_and(|format| format.final_event);
    let listener = listener(runtime, session, number, agent.as_ref()).await?;
    let resumes = agent.as_ref().is_some_and(|agent| agent.capabilities().resume)
        || matches!(listener, Listener::Conversation(_));
    let mut reader = TurnReader::new(runtime, session, number, listener);
    let mut talk = Talk::new(session, number, tender.as_ref());
    let mut changes = session.changes();
    let (mut last_words, mut last_line) = (Instant::now(), Instant::now());
    let (mut lingered, mut frozen) = (false, false);
    loop {
        let state = Arc::clone(&changes.borrow_and_update());
        let Some(turn) = state.turn(number) else { return Ok(()) };
        if turn.ended().is_some() {
            return Ok(());
        }
        let read = reader.catch_up().await?;
        if read.known {
            last_words = Instant::now();
        }
        if reader.is_interrupted() {
            // By way of a former server perhaps, and the agent may have left before we came.
            session.duties().ended_unless_known(number, Cause::Interrupted);
        }
        // Who is frozen cannot leave, and gets its time when it goes on.
        if read.lines || frozen != turn.frozen {
            (last_line, frozen) = (Instant::now(), turn.frozen);
        }
        let Some(exited) = turn.exited.as_ref().filter(|_| turn.phase == TurnPhase::Exited) else {
            if let Some(conversation) = reader.conversation() {
                talk.go_on(conversation, turn).await?;
            }
            let leaves = (!lingered && !frozen && is_done(&reader.observation())).then(|| last_line + LINGER);
            if let (Some(leaves), Some(tender)) = (leaves, &tender)
                && Instant::now() >= leaves
            {
                lingered = true;
                stop::end_later(session, tender, None, LINGER_GRACE);
            }
            let wake = [talk.wake(), leaves.filter(|_| !lingered)];
            let (wake, asleep) = (wake.into_iter().flatten().min(), Instant::now());
            tokio::select! {
                _ = changes.changed() => {}
                () = session.stirred.notified() => {}
                () = talk.sent() => {}
                () = at(wake) => {}
            }
            if wake.is_some_and(|wake| wake.elapsed() > OVERSLEPT) {
                last_line = Instant::now();
                talk.was_paused(asleep.elapsed());
            }
            continue;
        };
        let seen = reader.observation();
        let tree_lives = tender
            .as_ref()
            .is_some_and(|_| session.duties().tenders.contains_key(&number));
        let wanted = session.duties().ended_by(number).is_none();
        let may_come = wanted && final_expected && seen.final_event.is_none() && exited.cause.is_none() && tree_lives;
        let patience = last_words + WORKER_QUIET;
        if may_come && exited.leftover_processes > 0 && Instant::now() < patience {
            // Not the process alone: launchers die while their worker writes on.
            tokio::select! {
                _ = changes.changed() => {}
                () = gone(tender.as_deref()) => {}
                () = tokio::time::sleep_until(patience) => {
                    // It slept for longer: so did the worker, which gets its time once more.
                    if patience.elapsed() > OVERSLEPT {
                        last_words = Instant::now();
                    }
                }
            }
            continue;
        }
        let launcher_died = reader.final_event_came_after_exit();
        let out = decide_outcome(
            ExitEvidence {
                exited,
                final_expected,
                launcher_died,
            },
            &seen,
        );
        let out = limited(out, format, &state.usage());
        let out = resumed(out, state.agent_session_id().filter(|_| resumes));
        return end(&runtime.links, session, turn, out, tender.as_deref()).await;
    }
}

/// Who is to make sense of what the agent writes.
async fn listener(
    runtime: &Runtime,
    session: &Arc<Session>,
    number: u32,
    agent: Option<&Agent>,
) -> Result<Listener, RuntimeError> {
    let (Some(agent), state) = (agent, session.state()) else {
        return Ok(Listener::Nobody);
    };
    if let Some(turn) = state.turn(number).filter(|_| prepare::converses(agent, session)) {
        let (settings, variables, links) = (runtime.settings(), runtime.variables(), Arc::clone(&runtime.links));
        let attempt = turn.attempt;
        let (agent, session, turn) = (agent.clone(), Arc::clone(session), turn.clone());
        let driver =
            on_a_thread(move || prepare::driver(&settings, &variables, &links, &session, &agent, &turn)).await?;
        if let Some(driver) = driver {
            return Ok(Listener::Conversation(Box::new(Conversation::new(
                driver, number, attempt,
            ))));
        }
    }
    let observer = agent.observer(session.request().permission.unwrap_or_default());
    Ok(observer.map_or(Listener::Nobody, Listener::Observer))
}

/// It has said its final result, and nothing goes on behind that.
fn is_done(seen: &Observation) -> bool {
    seen.final_event.is_some() && !seen.busy
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn gone(tender: Option<&Tender>) {
    match tender {
        Some(tender) => tender.gone().await,
        None => std::future::pending().await,
    }
}

/// Bounds the answer's size, and makes of a conversation's usage the turn's own.
fn limited(mut out: TurnEnded, format: Option<&Format>, earlier: &Usage) -> TurnEnded {
    if let Some(result) = &mut out.result {
        result.truncate(result.floor_char_boundary(promptd_model::MAX_RESULT));
    }
    if format.is_some_and(|format| format.usage_is_cumulative) {
        out.usage = out.usage.map(|usage| usage.since(*earlier));
    }
    out
}

/// An agent that was to go on with one session and began another knows nothing of the turns before: that is no
/// success, and the session keeps the id under which its past is found.
fn resumed(mut out: TurnEnded, asked: Option<&str>) -> TurnEnded {
    let Some(asked) = asked else { return out };
    let other = out.agent_session_id.take().filter(|id| id != asked);
    out.agent_session_id = Some(asked.to_owned());
    if let (Some(other), Status::Completed) = (other, out.status) {
        out.status = Status::Failed;
        out.cause = Some(Cause::AgentError);
        out.error = Some(format!(
            "the agent was to resume its session {asked:?} and began another, {other:?}, without the turns before; \
             begin a new session of promptd if its past is lost"
        ));
    }
    out
}

/// Writes the end, or that the turn is tried again.
async fn end(
    links: &Arc<Links>,
    session: &Arc<Session>,
    turn: &TurnState,
    out: TurnEnded,
    tender: Option<&Tender>,
) -> Result<(), RuntimeError> {
    let (number, attempt) = (turn.turn, turn.attempt);
    let again = session
        .request()
        .retry
        .as_ref()
        .filter(|retry| attempt <= retry.max && retry.on.contains(&out.status));
    let retry = match (again, out.cause) {
        (Some(retry), Some(cause)) if out.status != Status::Cancelled && nobody_left(session, tender, cause).await => {
            let (attempt, delay) = (attempt.saturating_add(1), retry.delay);
            Some(Body::Retry { attempt, delay, cause })
        }
        _ => None,
    };
    let links = Arc::clone(links);
    session
        .transact(move |session, state| {
            // Before anybody hears of the end and begins what would meet them.
            links.release(session.id(), number);
            if state.turn(number).is_none_or(|turn| turn.ended().is_some()) {
                return (Vec::new(), ());
            }
            let body = match (session.duties().ended_by(number), retry) {
                // A caller ended it when its process had gone already; its word counts all the same.
                (Some(cause), _) => Body::TurnEnded(TurnEnded {
                    status: Status::Cancelled,
                    cause: Some(cause),
                    stop_reason: Some(StopReason::Cancelled),
                    ..out
                }),
                (None, Some(retry)) => retry,
                (None, None) => Body::TurnEnded(out),
            };
            (vec![(number, body)], ())
        })
        .await
}

/// Ends what an attempt left behind, which the next one must not meet; false when that cannot be done.
async fn nobody_left(session: &Session, tender: Option<&Tender>, cause: Cause) -> bool {
    let Some(tender) = tender else { return true };
    let stop = Request::Stop {
        grace: 0.0,
        cause: Some(cause),
    };
    let survivors = stop::end_tree(session, tender, &stop, Duration::ZERO).await;
    if survivors.is_ok_and(|survivors| survivors == 0) {
        tender.gone().await;
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_model::Exited;

    fn ended(code: i32, id: Option<&str>) -> TurnEnded {
        let exited = Exited {
            code: Some(code),
            ..Exited::default()
        };
        let seen = Observation {
            agent_session_id: id.map(str::to_owned),
            ..Observation::default()
        };
        decide_outcome(
            ExitEvidence {
                exited: &exited,
                final_expected: false,
                launcher_died: false,
            },
            &seen,
        )
    }

    #[test]
    fn an_agent_that_began_another_session_than_it_was_to_resume_has_failed() {
        let out = resumed(ended(0, Some("new")), Some("old"));
        assert_eq!((out.status, out.cause), (Status::Failed, Some(Cause::AgentError)));
        assert!(out.error.unwrap().contains("\"new\""));
        assert_eq!(out.agent_session_id.as_deref(), Some("old"));
    }

    #[test]
    fn who_resumed_what_it_was_asked_to_or_was_asked_for_nothing_has_not() {
        for (seen, asked) in [
            (Some("old"), Some("old")),
            (Some("new"), None),
            // It said nothing of it: the id that is known stays.
            (None, Some("old")),
        ] {
            let out = resumed(ended(0, seen), asked);
            assert_eq!(out.status, Status::Completed);
            assert_eq!(out.agent_session_id.as_deref(), asked.or(seen));
        }
        let out = resumed(ended(3, Some("new")), Some("old"));
        assert_eq!(
            out.error.unwrap(),
            "the agent exited with code 3; its output tells more"
        );
    }
}
