//! Taking the tree down, step by step, until a scan finds nobody.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::agent::Agent;
use promptd_model::Cause;
use promptd_sys as sys;

/// How often the tree is swept while it is being killed.
const SWEEP: Duration = Duration::from_millis(20);

/// How often it is looked at while it is given time: nobody tells us when a grandchild goes.
const LOOK: Duration = Duration::from_millis(100);

/// A process that has not gone after so long will not go: it hangs in the kernel, or is not ours to kill.
const GIVE_UP: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// SIGINT to the agent's group, as Ctrl-C would.
    Interrupt,
    /// SIGTERM to every process of the tree.
    Terminate,
    /// SIGKILL to every process of the tree, again and again.
    Kill,
}

/// The kill ladder on its way.
#[derive(Debug)]
pub(super) struct Ladder {
    /// Why the tree is taken down; nothing where the agent only has not left.
    pub(super) cause: Option<Cause>,
    step: Step,
    /// When the next step is due.
    due: Instant,
    grace: Duration,
    kill_begun: Option<Instant>,
    next_look: Instant,
}

/// What a look at the ladder gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Look again, at [`Ladder::next_look`].
    Underway,
    /// Over; so many processes are still there.
    Done { survivors: u32 },
}

impl Ladder {
    /// Begins with the gentlest step that `grace` leaves time for.
    pub(super) fn begin(agent: &Agent, cause: Option<Cause>, grace: Duration, now: Instant) -> Self {
        if grace.is_zero() {
            return Self {
                cause,
                step: Step::Kill,
                due: now,
                grace,
                kill_begun: None,
                next_look: now,
            };
        }
        agent.signal_group(Signal::SIGINT);
        // A stopped process takes no signal but SIGKILL; it may be stopped because we froze it.
        agent.signal_group(Signal::SIGCONT);
        Self {
            cause,
            step: Step::Interrupt,
            due: now + grace / 2,
            grace,
            kill_begun: None,
            next_look: now,
        }
    }

    /// Somebody else wants it to end sooner.
    pub(super) fn hurry(&mut self, grace: Duration, now: Instant) {
        if grace < self.grace {
            self.grace = grace;
            self.due = self.due.min(now + grace / 2);
        }
    }

    /// When to go on.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Goes on: the next step when it is due, or when the agent has gone and only the rest of its tree is left.
    pub(super) fn advance(&mut self, agent: &Agent, now: Instant) -> Progress {
        // The keeper wakes for every line of output, too; a scan of /proc is not due each time.
        let agent_has_just_gone = self.step == Step::Interrupt && !agent.running;
        if now < self.next_look && !agent_has_just_gone {
            return Progress::Underway;
        }
        let tree = agent.tree();
        if tree.is_empty() {
            // Perhaps the exit is not in the journal yet; then somebody asks again.
            self.next_look = now + LOOK;
            return Progress::Done { survivors: 0 };
        }
        match self.step {
            Step::Interrupt if now >= self.due || !agent.running => {
                sys::signal_all(&tree, Signal::SIGTERM);
                sys::signal_all(&tree, Signal::SIGCONT);
                self.step = Step::Terminate;
                self.due = now + self.grace / 2;
            }
            Step::Terminate if now >= self.due => self.step = Step::Kill,
            Step::Interrupt | Step::Terminate | Step::Kill => {}
        }
        if self.step == Step::Kill {
            // Stopped first, so that nobody forks away while the others die.
            sys::signal_all(&tree, Signal::SIGSTOP);
            sys::signal_all(&agent.tree(), Signal::SIGKILL);
            let begun = *self.kill_begun.get_or_insert(now);
            if now.duration_since(begun) > GIVE_UP {
                return Progress::Done {
                    survivors: u32::try_from(tree.len()).unwrap_or(u32::MAX),
                };
            }
        }
        self.next_look = if self.step == Step::Kill {
            now + SWEEP
        } else {
            self.due.min(now + LOOK)
        };
        Progress::Underway
    }
}
