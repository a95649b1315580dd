//! Driving sessions: from their queued prompts to their ends, one turn after the other.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::runtime::blocking::run_blocking;
use crate::runtime::delivery::service::SinkDelivery;
use crate::runtime::error::RuntimeError;
use crate::runtime::launch::inputs::TurnInputs;
use crate::runtime::session::handle::Session;
use crate::runtime::signals::Activity;
use crate::runtime::turn::abandon::abandon;
use crate::runtime::turn::parts::TurnParts;
use crate::runtime::turn::queue::{Permit, Ticket, TurnQueue};
use crate::runtime::turn::run::run;
use crate::runtime::turn::start::{adopt, start};
use crate::runtime::turn::tick::next_tick;
use promptd_follow::Watch;
use promptd_model::{SessionState, TurnPhase};

/// After an error that nobody can do anything about, the next try comes after this long.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What drives the sessions.
#[derive(Debug)]
pub(crate) struct TurnDriver {
    parts: TurnParts,
    queue: Arc<TurnQueue>,
    delivery: Arc<SinkDelivery>,
    activity: Arc<Activity>,
}

/// What a session's driving task holds.
#[derive(Default)]
struct Held {
    ticket: Option<Ticket>,
    permit: Option<Permit>,
    /// The inputs of the turn that was started last.
    inputs: Option<TurnInputs>,
}

impl TurnDriver {
    pub(crate) fn new(
        parts: TurnParts,
        queue: Arc<TurnQueue>,
        delivery: Arc<SinkDelivery>,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            parts,
            queue,
            delivery,
            activity,
        }
    }

    /// Drives the sessions that a former server left: `unsettled` in the order in which they waited.
    pub(crate) fn adopt(self: &Arc<Self>, unsettled: &[Arc<Session>]) {
        // All running turns take their permits before any that waits gets one.
        let permits: Vec<_> = unsettled
            .iter()
            .map(|session| session.has_running_turn().then(|| self.queue.adopt()))
            .collect();
        for (session, permit) in unsettled.iter().zip(permits) {
            adopt(&self.parts, session);
            self.begin(session, permit);
        }
    }

    /// Sees to it that the session's turns are driven.
    pub(crate) fn drive(self: &Arc<Self>, session: &Arc<Session>) {
        self.begin(session, None);
    }

    fn begin(self: &Arc<Self>, session: &Arc<Session>, permit: Option<Permit>) {
        if !session.control.begin_driving() {
            return;
        }
        self.activity.notify_started();
        // Queued here and now, so that the order of the queue is the order of acceptance.
        let state = session.state();
        let waits = state.current().is_some_and(|turn| turn.phase == TurnPhase::Queued);
        let held = Held {
            ticket: waits.then(|| self.queue.join(session.id().clone())),
            permit,
            ..Held::default()
        };
        tokio::spawn(Arc::clone(self).run(Arc::clone(session), held));
    }

    /// Drives a session until all its turns are over.
    async fn run(self: Arc<Self>, session: Arc<Session>, mut held: Held) {
        let watch = self.parts.watcher.watch_for_state(&session.journal.path());
        let mut follow = tokio::spawn(follow_journal(watch, Arc::clone(&session)));
        let mut is_lost = false;
        let through = loop {
            let step = tokio::select! {
                step = self.step(&session, &mut held) => step,
                reason = &mut follow => {
                    is_lost = true;
                    self.lose(&session, reason.unwrap_or_default()).await;
                    session.control.finish_driving();
                    break u32::MAX;
                }
            };
            match step {
                Ok(true) => {}
                Ok(false) => {
                    let state = session.state();
                    let is_over = state.current().is_none() || session.control.is_deleted();
                    if is_over && session.control.finish_driving() {
                        break state.next_turn().saturating_sub(1);
                    }
                }
                Err(_) if session.control.is_deleted() => {
                    session.control.finish_driving();
                    break u32::MAX;
                }
                Err(error) => {
                    tracing::error!(session = %session.id(), %error, "a turn could not be moved on; trying again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        };
        drop(held);
        let (links, id) = (Arc::clone(&self.parts.links), session.id().clone());
        let released = run_blocking(move || {
            links.release(&id, through);
            Ok(())
        });
        drop(released.await);
        // Processes that were left behind may still write, and followers' `last_seq` should include that.
        let trees_ended = async {
            for keeper in session.control.keepers() {
                keeper.tree_ended().await;
            }
        };
        if !is_lost {
            tokio::select! {
                () = trees_ended => {}
                reason = &mut follow => self.lose(&session, reason.unwrap_or_default()).await,
            }
            follow.abort();
        }
        let _last_lines = session.refresh();
        if session.control.lost().is_none() {
            self.delivery.deliver(&session);
        }
        self.activity.notify_at_rest();
    }

    /// The session's journal is gone or damaged.
    async fn lose(&self, session: &Arc<Session>, reason: String) {
        // A deleted session loses it as it should, and its id may have been given to another one.
        if !session.control.is_deleted() {
            let _survivors = abandon(session, reason).await;
        }
    }

    /// Does what is due; false when no turn is left.
    async fn step(&self, session: &Arc<Session>, held: &mut Held) -> Result<bool, RuntimeError> {
        let mut changes = session.changes();
        let state = session.refresh()?;
        changes.mark_unchanged();
        let Some(turn) = state.current() else { return Ok(false) };
        if session.control.is_deleted() {
            return Ok(false);
        }
        let inputs = held.inputs.take();
        match &turn.phase {
            TurnPhase::Queued => {
                if !self.wait_for_permit(session, held, &mut changes).await {
                    return Ok(true);
                }
                held.inputs = start(&self.parts, session, turn, 1).await?;
            }
            TurnPhase::Retrying { attempt, at } => {
                // By the wall clock: a delay can be the hours until a quota is full again.
                let delay = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                if !delay.is_zero() {
                    // Others may run while this one only waits; then it joins the queue like every other.
                    held.permit = None;
                    held.ticket = None;
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        _ = changes.changed() => {}
                    }
                    return Ok(true);
                }
                if !self.wait_for_permit(session, held, &mut changes).await {
                    return Ok(true);
                }
                held.inputs = start(&self.parts, session, turn, *attempt).await?;
            }
            TurnPhase::Running | TurnPhase::Exited => {
                self.hold_permit(held);
                run(&self.parts, session, turn.turn, inputs).await?;
                let state = session.state();
                let ended = state.turn(turn.turn).is_some_and(|turn| turn.ended().is_some());
                if ended {
                    // The next turn joins the queue like every other.
                    held.permit = None;
                }
            }
            TurnPhase::Ended(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Waits for the permit to run a turn; false when the session has changed meanwhile: the turn may be cancelled.
    async fn wait_for_permit(
        &self,
        session: &Session,
        held: &mut Held,
        changes: &mut watch::Receiver<Arc<SessionState>>,
    ) -> bool {
        if held.permit.is_none() {
            let join = || self.queue.join(session.id().clone());
            let ticket = held.ticket.get_or_insert_with(join);
            tokio::select! {
                permit = ticket.permit() => held.permit = Some(permit),
                _ = changes.changed() => return false,
            }
            held.ticket = None;
        }
        true
    }

    /// Sees to it that a running turn has one permit, and no second one in the queue.
    fn hold_permit(&self, held: &mut Held) {
        // It may have joined the queue before its journal said that a former server had started it.
        let waited_for = held.ticket.take().and_then(|mut ticket| ticket.try_permit());
        if held.permit.is_none() {
            held.permit = Some(waited_for.unwrap_or_else(|| self.queue.adopt()));
        }
    }
}

/// Folds the journal in as it grows. Ends where it is gone or damaged, and says why.
async fn follow_journal(mut watch: Watch, session: Arc<Session>) -> String {
    loop {
        match session.refresh() {
            Ok(_) => {}
            Err(error) if error.is_lasting() => {
                return format!("{}: {}", error.path.display(), error.source);
            }
            Err(error) => {
                tracing::error!(session = %session.id(), error = %error.source, "the journal cannot be read");
                tokio::time::sleep(RETRY_DELAY).await;
                // There may be no further event to wait for.
                continue;
            }
        }
        tokio::select! {
            () = watch.changed() => {}
            // No event tells that a file was removed or moved while a keeper has it open.
            () = next_tick() => {}
        }
    }
}
