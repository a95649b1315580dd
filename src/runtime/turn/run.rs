//! The loop of one running turn: reads its output until it has an end, and writes that.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::runtime::blocking::run_blocking;
use crate::runtime::dialog::io::DialogIo;
use crate::runtime::dialog::state::DialogState;
use crate::runtime::dialog::turn_reader::{Listener, TurnReader};
use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::handle::KeeperHandle;
use crate::runtime::keeper::stop::stop_tree_later;
use crate::runtime::launch::catalog::{find_agent, needs_dialog};
use crate::runtime::launch::inputs::{Sources, TurnInputs};
use crate::runtime::session::handle::Session;
use crate::runtime::turn::finish::{Ending, finish};
use crate::runtime::turn::outcome::{check_resumed, limit, with_reset};
use crate::runtime::turn::parts::TurnParts;
use promptd_agents::{Agent, Format};
use promptd_model::{Cause, ExitEvidence, Exited, SessionState, TurnPhase, TurnState, decide_outcome};

/// A launcher has exited and its worker continues: the turn waits for the worker's final event, but no longer than this
/// after the last line in the agent's own format.
const WORKER_TIMEOUT: Duration = Duration::from_secs(30);

/// An agent that has reported its final result and does not exit is ended so long after its last line.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

/// The grace of an agent that is ended because it lingers.
const LINGER_GRACE: Duration = Duration::from_secs(5);

/// The same two for an agent that promptd talks with: its standard input is closed at its final result, which is the sign
/// to exit, and nothing else is expected of it. Together they stay under two seconds.
const DIALOG_LINGER_TIMEOUT: Duration = Duration::from_millis(800);
const DIALOG_LINGER_GRACE: Duration = Duration::from_millis(800);

/// A timer that ends this much too late means that the machine was paused meanwhile.
const LATE_TIMER: Duration = Duration::from_secs(1);

/// Stays with a running turn until it has an end, and writes that. `inputs` are those of its launch, where this server
/// started it.
pub(crate) async fn run(
    parts: &TurnParts,
    session: &Arc<Session>,
    number: u32,
    inputs: Option<TurnInputs>,
) -> Result<(), RuntimeError> {
    let mut run = TurnRun::begin(parts, session, number, inputs).await?;
    let mut changes = session.changes();
    loop {
        let now = run.begin_round();
        let state = Arc::clone(&changes.borrow_and_update());
        let Some(turn) = state.turn(number).filter(|turn| turn.ended().is_none()) else {
            return Ok(());
        };
        run.read_output(turn).await?;
        let Some(exited) = turn.exited.as_ref().filter(|_| turn.phase == TurnPhase::Exited) else {
            run.advance(turn, &mut changes, now).await?;
            continue;
        };
        if run.worker_may_report(exited, now) {
            run.wait_for_worker(&mut changes).await;
            continue;
        }
        let ending = Ending {
            out: run.outcome(&state, exited),
            late: run.reader.take_late_messages(),
            needs_pipe: run.reader.observation().needs_pipe,
        };
        return finish(&parts.links, session, turn, ending, run.keeper.as_deref()).await;
    }
}

/// A turn, as its loop sees it.
struct TurnRun {
    session: Arc<Session>,
    number: u32,
    keeper: Option<Arc<KeeperHandle>>,
    format: Option<&'static Format>,
    /// The agent can resume its own session.
    resumes: bool,
    reader: TurnReader,
    io: DialogIo,
    /// When the agent wrote a line last, and one in its own format.
    last_line: Instant,
    last_known_line: Instant,
    /// When this round of the loop began. All limits are compared with it: a server that is paused in the middle of a
    /// round must not find them passed before it has noticed the pause.
    round: Instant,
    /// The agent has exited, and a worker that it left was waited for until then in the last round.
    worker_limit: Option<Instant>,
    frozen: bool,
    /// The agent is being ended because it lingers.
    ending: bool,
}

impl TurnRun {
    async fn begin(
        parts: &TurnParts,
        session: &Arc<Session>,
        number: u32,
        inputs: Option<TurnInputs>,
    ) -> Result<Self, RuntimeError> {
        let keeper = session.control.keeper(number);
        if let Some(keeper) = &keeper {
            keeper.hold_stdin();
        }
        let agent = find_agent(&parts.settings.get(), session.agent());
        let state = session.state();
        let is_dialog = state.turn(number).is_some_and(|turn| needs_dialog(session, turn));
        let listener = match &agent {
            Some(agent) => listener(parts, session, number, agent, inputs).await?,
            None => Listener::None,
        };
        let resumes = agent.as_ref().is_some_and(|agent| agent.capabilities().resume);
        Ok(Self {
            session: Arc::clone(session),
            number,
            format: agent.as_ref().map(|agent| agent.format(is_dialog)),
            resumes: resumes || matches!(listener, Listener::Dialog(_)),
            reader: TurnReader::new(&parts.watcher, session, number, listener),
            io: DialogIo::new(session, number, keeper.as_ref()),
            keeper,
            last_line: Instant::now(),
            last_known_line: Instant::now(),
            round: Instant::now(),
            worker_limit: None,
            frozen: false,
            ending: false,
        })
    }

    /// Begins a round, and returns when that was. Where a limit has passed so long ago that nothing can have run
    /// meanwhile, all limits are extended.
    fn begin_round(&mut self) -> Instant {
        let now = Instant::now();
        let since = now - std::mem::replace(&mut self.round, now);
        // After the exit only the worker's limit counts: nobody obeys the others any more.
        let worker_limit = self.worker_limit.take();
        let next = worker_limit.or_else(|| self.io.next_timer().into_iter().chain(self.linger_end()).min());
        if next.is_some_and(|limit| now.saturating_duration_since(limit) > LATE_TIMER) {
            (self.last_line, self.last_known_line) = (now, now);
            self.io.extend_limits(since);
        }
        now
    }

    async fn read_output(&mut self, turn: &TurnState) -> Result<(), RuntimeError> {
        let read = self.reader.catch_up().await?;
        if read.known {
            self.last_known_line = Instant::now();
        }
        if let Some(id) = self.reader.agent_session_id() {
            self.session.control.set_agent_session(self.number, id);
        }
        if self.reader.is_interrupted() {
            // Perhaps through a former server, and the agent may have exited before this one started.
            self.session
                .control
                .end_turns_if_running(self.number, Cause::Interrupted);
        }
        // A frozen agent cannot exit, and gets its time when it continues.
        if read.lines || self.frozen != turn.frozen {
            self.last_line = Instant::now();
        }
        if self.frozen != turn.frozen {
            (self.last_known_line, self.frozen) = (Instant::now(), turn.frozen);
        }
        Ok(())
    }

    /// The agent runs: does what the dialog asks for, and waits for something to happen.
    async fn advance(
        &mut self,
        turn: &TurnState,
        changes: &mut watch::Receiver<Arc<SessionState>>,
        now: Instant,
    ) -> Result<(), RuntimeError> {
        let was_done = self.is_done();
        if let Some(dialog) = self.reader.dialog() {
            self.io.advance(dialog, turn, now, self.last_known_line).await?;
        }
        if !was_done && self.is_done() {
            // Given up, or cancelled before the prompt: the time to exit begins now.
            self.last_known_line = now;
        }
        let linger_end = self.linger_end();
        if let (Some(at), Some(keeper)) = (linger_end, &self.keeper)
            && now >= at
        {
            self.ending = true;
            let is_dialog = self.reader.is_dialog();
            let grace = if is_dialog { DIALOG_LINGER_GRACE } else { LINGER_GRACE };
            stop_tree_later(keeper, grace, None);
        }
        let timers = [self.io.next_timer(), linger_end.filter(|_| !self.ending)];
        tokio::select! {
            _ = changes.changed() => {}
            () = self.session.wake_turn.notified() => {}
            () = self.io.sent() => {}
            () = sleep_until(timers.into_iter().flatten().min()) => {}
        }
        Ok(())
    }

    /// When the agent is ended, if it is done and has not exited by then.
    fn linger_end(&self) -> Option<Instant> {
        let lingers = !self.ending && !self.frozen && self.is_done();
        lingers.then(|| {
            if self.reader.is_dialog() {
                // What its MCP servers log is no sign that it has more to say.
                self.last_known_line + DIALOG_LINGER_TIMEOUT
            } else {
                self.last_line + LINGER_TIMEOUT
            }
        })
    }

    /// When a worker is no longer waited for.
    fn worker_end(&self) -> Instant {
        self.last_known_line + WORKER_TIMEOUT
    }

    /// It has reported its final result, and nothing goes on after that.
    fn is_done(&self) -> bool {
        let seen = self.reader.observation();
        seen.final_event.is_some() && !seen.busy
    }

    /// The process has exited: whether a worker that it left may still report the turn's end.
    fn worker_may_report(&self, exited: &Exited, now: Instant) -> bool {
        let tree_lives = self.session.control.keeper(self.number).is_some() && self.keeper.is_some();
        let is_open = exited.cause.is_none() && self.session.control.ended_by(self.number).is_none();
        let expected = self.final_expected() && self.reader.observation().final_event.is_none();
        let in_time = now < self.worker_end();
        tree_lives && is_open && expected && in_time && exited.leftover_processes > 0
    }

    async fn wait_for_worker(&mut self, changes: &mut watch::Receiver<Arc<SessionState>>) {
        let limit = self.worker_end();
        self.worker_limit = Some(limit);
        tokio::select! {
            _ = changes.changed() => {}
            () = tree_ended(self.keeper.as_deref()) => {}
            () = tokio::time::sleep_until(limit) => {}
        }
    }

    fn final_expected(&self) -> bool {
        self.format.is_some_and(|format| format.final_event)
    }

    fn outcome(&self, state: &SessionState, exited: &Exited) -> promptd_model::TurnEnded {
        let exit = ExitEvidence {
            exited,
            final_expected: self.final_expected(),
            launcher_died: self.reader.final_event_came_after_exit(),
        };
        let seen = self.reader.observation();
        let out = decide_outcome(exit, &seen);
        let out = limit(out, self.format, &seen, &state.usage_before(self.number));
        let out = check_resumed(out, state.resumed_session_id(self.number).filter(|_| self.resumes));
        with_reset(out, &seen, Timestamp::now())
    }
}

/// What interprets the agent's output.
async fn listener(
    parts: &TurnParts,
    session: &Arc<Session>,
    number: u32,
    agent: &Agent,
    inputs: Option<TurnInputs>,
) -> Result<Listener, RuntimeError> {
    let state = session.state();
    let is_dialog = state.turn(number).is_some_and(|turn| needs_dialog(session, turn));
    if let Some(turn) = state.turn(number).filter(|_| agent.format(is_dialog).is_dialog) {
        let inputs = match inputs {
            Some(inputs) => inputs,
            None => read_inputs(parts, session, agent, turn).await?,
        };
        if let Some(driver) = inputs.driver(agent, session) {
            let mut dialog = DialogState::new(driver, number, turn.attempt);
            dialog.starts_servers = inputs.has_mcp_servers();
            return Ok(Listener::Dialog(Box::new(dialog)));
        }
    }
    let observer = agent.observer(is_dialog);
    Ok(observer.map_or(Listener::None, Listener::Observer))
}

/// The inputs of a turn that a former server started.
async fn read_inputs(
    parts: &TurnParts,
    session: &Arc<Session>,
    agent: &Agent,
    turn: &TurnState,
) -> Result<TurnInputs, RuntimeError> {
    let (settings, variables, links) = (parts.settings.get(), parts.access.variables(), Arc::clone(&parts.links));
    let (agent, session, turn) = (agent.clone(), Arc::clone(session), turn.clone());
    run_blocking(move || {
        let from = Sources {
            settings: &settings,
            variables: &variables,
            links: &links,
            session: &session,
        };
        TurnInputs::read_again(&from, &agent, &turn)
    })
    .await
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn tree_ended(keeper: Option<&KeeperHandle>) {
    match keeper {
        Some(keeper) => keeper.tree_ended().await,
        None => std::future::pending().await,
    }
}
