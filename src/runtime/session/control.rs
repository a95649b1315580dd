//! What the server does for a session at the moment. Nothing of it outlives the server: a restart finds it anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::keeper::handle::KeeperHandle;
use promptd_model::Cause;

/// The session's tasks, and what callers want of its turns.
#[derive(Debug, Default)]
pub(crate) struct SessionControl(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// A task drives the session's turns.
    driven: bool,
    /// A turn was accepted while that task was at work: it has to look once more before it ends.
    more_turns: bool,
    /// The turn whose keeper is being started, though the journal does not say so yet.
    starting: Option<u32>,
    /// Turns up to this one were ended by a caller, whether or not that could be written to the journal.
    ended: Option<(u32, Cause)>,
    /// The agent's own id for its session, as the agent of this turn has reported it.
    agent_session: Option<(u32, String)>,
    /// The keepers of turns with living processes.
    keepers: BTreeMap<u32, Arc<KeeperHandle>>,
    /// The session is being deleted: nothing may start.
    deleted: bool,
    /// Why its files cannot be used any more: nothing may start, and nothing can be recorded.
    lost: Option<String>,
}

impl SessionControl {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is to drive the session's turns; where a task does so already, it will see the latest turn.
    pub(crate) fn begin_driving(&self) -> bool {
        let mut state = self.state();
        if state.deleted || state.lost.is_some() {
            return false;
        }
        state.more_turns = state.driven;
        !std::mem::replace(&mut state.driven, true)
    }

    /// Whether the driving task may end; not where a turn was accepted since it last looked.
    pub(crate) fn finish_driving(&self) -> bool {
        let mut state = self.state();
        if std::mem::take(&mut state.more_turns) && !state.deleted && state.lost.is_none() {
            return false;
        }
        state.driven = false;
        true
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.state().driven
    }

    /// Whether the session's turns are driven, or processes of theirs live.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.state();
        state.driven || !state.keepers.is_empty()
    }

    /// Why a caller ended a turn, if one did.
    pub(crate) fn ended_by(&self, turn: u32) -> Option<Cause> {
        self.state().ended_by(turn)
    }

    /// A caller ends all turns up to this one.
    pub(crate) fn end_turns(&self, through: u32, cause: Cause) {
        self.state().ended = Some((through, cause));
    }

    /// The same, unless a caller has ended this turn already.
    pub(crate) fn end_turns_if_running(&self, through: u32, cause: Cause) {
        let mut state = self.state();
        if state.ended_by(through).is_none() {
            state.ended = Some((through, cause));
        }
    }

    /// Marks a turn as being started.
    ///
    /// # Errors
    /// Why a caller has ended it.
    pub(crate) fn begin_start(&self, turn: u32) -> Result<(), Cause> {
        let mut state = self.state();
        if let Some(cause) = state.ended_by(turn) {
            return Err(cause);
        }
        state.starting = Some(turn);
        Ok(())
    }

    pub(crate) fn finish_start(&self) {
        self.state().starting = None;
    }

    /// The turn that is being started.
    pub(crate) fn starting(&self) -> Option<u32> {
        self.state().starting
    }

    /// The agent of a turn has reported the id of its own session.
    pub(crate) fn set_agent_session(&self, turn: u32, id: &str) {
        let mut state = self.state();
        let is_known = state
            .agent_session
            .as_ref()
            .is_some_and(|known| (known.0, known.1.as_str()) == (turn, id));
        if !is_known {
            state.agent_session = Some((turn, id.to_owned()));
        }
    }

    /// The id that the agent of this turn has reported.
    pub(crate) fn agent_session(&self, turn: u32) -> Option<String> {
        let reported = self.state().agent_session.clone();
        reported.filter(|(of, _)| *of == turn).map(|(_, id)| id)
    }

    pub(crate) fn add_keeper(&self, keeper: Arc<KeeperHandle>) {
        self.state().keepers.insert(keeper.turn, keeper);
    }

    pub(crate) fn remove_keeper(&self, turn: u32) {
        self.state().keepers.remove(&turn);
    }

    pub(crate) fn keeper(&self, turn: u32) -> Option<Arc<KeeperHandle>> {
        self.state().keepers.get(&turn).cloned()
    }

    pub(crate) fn keepers(&self) -> Vec<Arc<KeeperHandle>> {
        self.state().keepers.values().cloned().collect()
    }

    pub(crate) fn mark_deleted(&self) {
        self.state().deleted = true;
    }

    /// Whether the session could be marked: not where anything goes on in it.
    pub(crate) fn mark_deleted_if_idle(&self) -> bool {
        let mut state = self.state();
        let is_idle = !state.driven && state.keepers.is_empty();
        state.deleted |= is_idle;
        is_idle
    }

    /// It could not be deleted, and may go on.
    pub(crate) fn unmark_deleted(&self) {
        self.state().deleted = false;
    }

    /// The session's files are gone or damaged; the first reason counts.
    pub(crate) fn mark_lost(&self, reason: String) {
        self.state().lost.get_or_insert(reason);
    }

    /// Why the session's files cannot be used any more.
    pub(crate) fn lost(&self) -> Option<String> {
        self.state().lost.clone()
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.state().deleted
    }
}

impl State {
    fn ended_by(&self, turn: u32) -> Option<Cause> {
        let ended = self.ended.filter(|(through, _)| turn <= *through);
        ended.map(|(_, cause)| cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_accepted_while_the_driver_ends_is_not_lost() {
        let control = SessionControl::default();
        assert!(control.begin_driving());
        assert!(!control.begin_driving(), "one drives already");
        assert!(!control.finish_driving(), "it has to look once more");
        assert!(control.finish_driving() && !control.is_driven());
        assert!(control.begin_driving());
    }

    #[test]
    fn nothing_starts_in_a_deleted_session() {
        let control = SessionControl::default();
        assert!(control.begin_driving() && !control.mark_deleted_if_idle());
        control.mark_deleted();
        assert!(!control.begin_driving() && control.finish_driving());
        control.unmark_deleted();
        assert!(control.mark_deleted_if_idle() && !control.begin_driving());
    }

    #[test]
    fn a_turn_that_a_caller_ended_is_not_started() {
        let control = SessionControl::default();
        control.end_turns(3, Cause::Stopped);
        control.end_turns_if_running(3, Cause::Interrupted);
        assert_eq!(control.begin_start(3), Err(Cause::Stopped));
        assert_eq!(control.begin_start(4), Ok(()));
        assert_eq!(control.starting(), Some(4));
        control.finish_start();
        assert_eq!((control.starting(), control.ended_by(4)), (None, None));
    }
}
