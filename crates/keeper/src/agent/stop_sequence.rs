//! Ending the process tree in three steps: interrupt, terminate, kill.
//!
//! The sequence is over when a scan of `/proc` finds no process of the tree.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::process::{Agent, Processes};
use promptd_model::Cause;
use promptd_sys as sys;

/// How often the tree is killed again while it is being killed.
const KILL_INTERVAL: Duration = Duration::from_millis(20);

/// How often the tree is scanned during the grace period: nothing reports the end of a grandchild.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);

/// A process that exists this long after SIGKILL cannot be ended: it hangs in the kernel, or has another owner.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the pump may take after the last other process, before it is killed, too.
const PUMP_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// SIGINT to the agent's process group, like Ctrl-C.
    Interrupt,
    /// SIGTERM to every process of the tree.
    Terminate,
    /// SIGKILL to every process of the tree, repeatedly.
    Kill,
}

/// A stop sequence in progress.
#[derive(Debug)]
pub(crate) struct StopSequence {
    /// Why the tree is ended; `None` if the agent did not exit after its final result.
    pub(crate) cause: Option<Cause>,
    step: Step,
    /// When the next step begins.
    step_ends: Instant,
    grace: Duration,
    kill_started: Option<Instant>,
    next_scan: Instant,
}

/// The result of [`StopSequence::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopProgress {
    /// Not finished; advance again at [`StopSequence::next_scan`].
    Running,
    /// Finished, with this many processes that could not be ended.
    Done { survivors: u32 },
}

impl StopSequence {
    /// Begins with an interrupt, or with SIGKILL if there is no grace period.
    pub(crate) fn begin(agent: &Agent, cause: Option<Cause>, grace: Duration, now: Instant) -> Self {
        let step = if grace.is_zero() { Step::Kill } else { Step::Interrupt };
        if step == Step::Interrupt {
            agent.signal_group(Signal::SIGINT);
            // A stopped process only receives SIGKILL, and the keeper may have frozen it.
            agent.signal_group(Signal::SIGCONT);
        }
        Self {
            cause,
            step,
            step_ends: now + grace / 2,
            grace,
            kill_started: None,
            next_scan: now,
        }
    }

    /// Shortens the grace period.
    pub(crate) fn shorten(&mut self, grace: Duration, now: Instant) {
        if grace < self.grace {
            self.grace = grace;
            self.step_ends = self.step_ends.min(now + grace / 2);
        }
    }

    /// When to advance again.
    pub(crate) fn next_scan(&self) -> Instant {
        self.next_scan
    }

    /// Goes to the next step when its time has come, or when the agent has exited and only the rest of its tree exists.
    pub(crate) fn advance(&mut self, agent: &Agent, now: Instant) -> StopProgress {
        // The keeper also wakes up for each line of output; a scan of /proc is not needed each time.
        let agent_just_exited = self.step == Step::Interrupt && !agent.running;
        if now < self.next_scan && !agent_just_exited {
            return StopProgress::Running;
        }
        // Last words are with the pump, which is not ended.
        let Processes { all, others: tree } = agent.processes();
        if all.is_empty() {
            // If the exit is not in the journal yet, the caller advances again.
            self.next_scan = now + SCAN_INTERVAL;
            return StopProgress::Done { survivors: 0 };
        }
        match self.step {
            Step::Interrupt if now >= self.step_ends || !agent.running => {
                sys::signal_all(&tree, Signal::SIGTERM);
                sys::signal_all(&tree, Signal::SIGCONT);
                self.step = Step::Terminate;
                self.step_ends = now + self.grace / 2;
            }
            Step::Terminate if now >= self.step_ends => self.step = Step::Kill,
            Step::Interrupt | Step::Terminate | Step::Kill => {}
        }
        if self.step == Step::Kill {
            // Stopped first, so that no process can fork while the others are killed.
            sys::signal_all(&tree, Signal::SIGSTOP);
            sys::signal_all(&agent.processes().others, Signal::SIGKILL);
            let started = *self.kill_started.get_or_insert(now);
            if tree.is_empty() && now.duration_since(started) > PUMP_TIMEOUT {
                sys::signal_all(&all, Signal::SIGKILL);
            }
            if now.duration_since(started) > KILL_TIMEOUT {
                let survivors = u32::try_from(all.len()).unwrap_or(u32::MAX);
                return StopProgress::Done { survivors };
            }
        }
        self.next_scan = match self.step {
            Step::Kill => now + KILL_INTERVAL,
            Step::Interrupt | Step::Terminate => self.step_ends.min(now + SCAN_INTERVAL),
        };
        StopProgress::Running
    }
}
