//! Writing a turn's end, or that it is tried again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::handle::KeeperHandle;
use crate::runtime::keeper::stop::stop_tree;
use crate::runtime::launch::links::Links;
use crate::runtime::session::handle::Session;
use promptd_model::{Body, Cause, Prompt, Status, Stdout, StopReason, TurnEnded, TurnState};

/// A quota that is full again later than this is not waited for: the longest that providers have are a week's, and the
/// moment is read from the agent's own text.
const MAX_RESET_WAIT: Duration = Duration::from_hours(8 * 24);

/// How an attempt ended.
pub(crate) struct Ending {
    pub(crate) out: TurnEnded,
    /// Messages that it was sent too late.
    pub(crate) late: Vec<Prompt>,
    /// The agent refuses a file as its standard output.
    pub(crate) needs_pipe: bool,
}

/// Writes the end of a turn, or of its attempt. Messages that the turn was sent and that came too late for it are the next
/// turns, if it completed.
pub(crate) async fn finish(
    links: &Arc<Links>,
    session: &Arc<Session>,
    turn: &TurnState,
    ending: Ending,
    keeper: Option<&KeeperHandle>,
) -> Result<(), RuntimeError> {
    let number = turn.turn;
    let retry = match retry_with_pipe(session, turn, &ending, keeper).await {
        Some(retry) => Some(retry),
        None => retry(session, turn, &ending.out, keeper).await,
    };
    let Ending { out, late, .. } = ending;
    let links = Arc::clone(links);
    let write = session.transact(move |session, state| {
        // Before anybody can see the end and start a turn that would find them.
        links.release(session.id(), number);
        if state.turn(number).is_none_or(|turn| turn.ended().is_some()) {
            return (Vec::new(), ());
        }
        let body = match (session.control.ended_by(number), retry) {
            // A caller ended it after its process had gone; that counts all the same.
            (Some(cause), _) => Body::TurnEnded(TurnEnded {
                status: Status::Cancelled,
                cause: Some(cause),
                stop_reason: Some(StopReason::Cancelled),
                // What the agent said about its end is no fault then.
                error: None,
                reset_at: None,
                ..out
            }),
            (None, Some(retry)) => retry,
            (None, None) => Body::TurnEnded(out),
        };
        let is_completed = matches!(&body, Body::TurnEnded(out) if out.status == Status::Completed);
        let next = late.into_iter().filter(|_| is_completed).map(|message| Prompt {
            // The key is that of the message.
            idempotency_key: None,
            ..message
        });
        let next = (state.next_turn()..).zip(next.map(Body::Prompt));
        (std::iter::once((number, body)).chain(next).collect(), ())
    });
    write.await
}

/// The record of another attempt with a pipe, where the agent has refused to start without one.
async fn retry_with_pipe(
    session: &Session,
    turn: &TurnState,
    ending: &Ending,
    keeper: Option<&KeeperHandle>,
) -> Option<Body> {
    let cause = ending.out.cause?;
    let is_first = session.state().stdout == Stdout::File;
    let is_due = ending.needs_pipe && is_first && ending.out.status == Status::Failed;
    if !is_due || !end_leftovers(keeper, cause).await {
        return None;
    }
    Some(Body::Retry {
        attempt: turn.attempt.saturating_add(1),
        delay: 0.0,
        cause,
        stdout: Some(Stdout::Pipe),
    })
}

/// The record of another attempt, where the request asks for one and nothing of this one is left.
async fn retry(session: &Session, turn: &TurnState, out: &TurnEnded, keeper: Option<&KeeperHandle>) -> Option<Body> {
    let retry = session.request().retry.as_ref()?;
    let cause = out.cause?;
    let is_wanted = retry.on.iter().any(|on| on.includes(out.status, out.cause));
    // Without its conversation the agent fails every time.
    let is_hopeless = out.status == Status::Cancelled || cause == Cause::ConversationLost;
    // Before the quota is full again, an attempt would fail like this one.
    let until_reset = out
        .reset_at
        .map_or(0.0, |at| at.duration_since(Timestamp::now()).as_secs_f64());
    let is_in_time = until_reset <= MAX_RESET_WAIT.as_secs_f64();
    let is_left = turn.attempt <= retry.max.saturating_add(turn.extra_attempts);
    let is_due = is_left && is_wanted && !is_hopeless && is_in_time;
    if !is_due || !end_leftovers(keeper, cause).await {
        return None;
    }
    let attempt = turn.attempt.saturating_add(1);
    let delay = retry.delay.max(until_reset);
    Some(Body::Retry {
        attempt,
        delay,
        cause,
        stdout: None,
    })
}

/// Ends the processes that an attempt left behind, before the next one starts; false when some survive.
async fn end_leftovers(keeper: Option<&KeeperHandle>, cause: Cause) -> bool {
    let Some(keeper) = keeper else { return true };
    let survivors = stop_tree(keeper, Duration::ZERO, Some(cause)).await;
    let ended = survivors.is_ok_and(|survivors| survivors == 0);
    if ended {
        keeper.tree_ended().await;
    }
    ended
}
