//! Tests of [`super`].

use super::*;
use crate::Status;
use crate::record::PermissionAnswer;
use crate::{Output, Prompt, Setup};

fn fold(bodies: Vec<Body>) -> SessionState {
    let mut state = SessionState::default();
    for (seq, body) in (1..).zip(bodies) {
        state.apply(&Record {
            seq,
            time: Timestamp::UNIX_EPOCH,
            turn: 1,
            body,
        });
    }
    state
}

fn ended(status: Status) -> Body {
    let (cause, stop_reason, result, error) = (None, None, None, None);
    Body::TurnEnded(TurnEnded {
        status,
        cause,
        reset_at: None,
        stop_reason,
        result,
        error,
        usage: None,
        agent_session_id: None,
    })
}

#[test]
fn turn_goes_from_queued_to_ended() {
    let mut bodies = vec![Body::Prompt(Prompt::default())];
    assert_eq!(fold(bodies.clone()).status(), SessionStatus::Queued);
    bodies.push(Body::Started(Started::default()));
    assert_eq!(fold(bodies.clone()).status(), SessionStatus::Running);
    bodies.push(Body::Exited(Exited::default()));
    assert_eq!(fold(bodies.clone()).status(), SessionStatus::Running);
    bodies.push(ended(Status::Completed));
    let state = fold(bodies);
    assert_eq!(state.status(), SessionStatus::Completed);
    assert!(state.is_settled());
    assert_eq!((state.last_seq, state.next_turn()), (4, 2));
}

#[test]
fn late_exit_does_not_reopen_an_ended_turn() {
    let state = fold(vec![
        Body::Prompt(Prompt::default()),
        Body::Started(Started::default()),
        ended(Status::Lost),
        Body::Exited(Exited::default()),
    ]);
    assert_eq!(state.status(), SessionStatus::Lost);
}

#[test]
fn setup_ends_with_the_first_start_of_an_agent() {
    let step = |step| {
        Body::Setup(Setup {
            step,
            of: 2,
            pid: 7,
            attempt: 1,
            ..Setup::default()
        })
    };
    let mut bodies = vec![Body::Prompt(Prompt::default()), step(1), step(2)];
    let state = fold(bodies.clone());
    let turn = state.turn(1).unwrap();
    assert_eq!((turn.setup, &turn.phase), (Some(2), &TurnPhase::Running));
    assert_eq!(turn.started.as_ref().unwrap().0.pid, 7);
    assert_eq!((turn.started_seq, &state.first_start), (3, &None));
    bodies.push(Body::Started(Started::default()));
    let state = fold(bodies);
    assert_eq!(state.turn(1).unwrap().setup, None);
    assert!(state.first_start.is_some());
}

#[test]
fn retry_continues_the_stream_offsets() {
    let out = |to| {
        Body::Stdout(Output {
            to,
            eol: true,
            ..Output::default()
        })
    };
    let retry = Body::Retry {
        attempt: 2,
        delay: 0.0,
        cause: crate::Cause::AgentError,
        stdout: None,
    };
    let state = fold(vec![
        Body::Prompt(Prompt::default()),
        Body::Started(Started::default()),
        out(7),
        retry,
        out(9),
    ]);
    let offset = state.turns.first().map(|turn| turn.offset(Stream::Stdout));
    assert_eq!(
        offset,
        Some(StreamOffset {
            to: 9,
            base: 7,
            truncated: false
        })
    );
}

fn question(id: &str) -> Body {
    Body::Permission(Permission {
        id: id.to_owned(),
        title: String::new(),
        options: Vec::new(),
        expires_at: Some(Timestamp::UNIX_EPOCH),
        ..Permission::default()
    })
}

fn answer(id: &str) -> Body {
    Body::PermissionAnswer(PermissionAnswer {
        id: id.to_owned(),
        option: "yes".to_owned(),
        by: "caller".to_owned(),
        ..PermissionAnswer::default()
    })
}

#[test]
fn session_waits_while_a_question_is_open() {
    let mut bodies = vec![Body::Prompt(Prompt::default()), Body::Started(Started::default())];
    bodies.extend([question("1"), question("2"), answer("1")]);
    let state = fold(bodies.clone());
    assert_eq!(state.status(), SessionStatus::Waiting);
    assert_eq!(state.pending_permissions().next().unwrap().0.id, "2");
    assert_eq!(state.turn(1).unwrap().answers[0].answer().id, "1");
    bodies.push(answer("2"));
    assert_eq!(fold(bodies.clone()).status(), SessionStatus::Running);
    // Answered questions stay answered.
    bodies.push(Body::Exited(Exited::default()));
    bodies.push(Body::Retry {
        attempt: 2,
        delay: 0.0,
        cause: crate::Cause::AgentError,
        stdout: None,
    });
    let state = fold(bodies);
    assert_eq!(state.turn(1).unwrap().answers.len(), 2);
    assert_eq!(state.pending_permissions().next(), None);
}

#[test]
fn pause_extends_the_time_to_answer() {
    let resumed = Body::Resumed {
        epoch: String::new(),
        away: 90.5,
        previous: None,
        sandbox: None,
    };
    let mut bodies = vec![Body::Prompt(Prompt::default()), Body::Started(Started::default())];
    bodies.extend([resumed.clone(), question("1"), resumed]);
    let state = fold(bodies);
    let expires_at = state.pending_permissions().next().unwrap().0.expires_at.unwrap();
    assert_eq!(expires_at.as_millisecond(), 90_500);
}
