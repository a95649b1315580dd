//! Noticing the end of processes: of children by `wait4`, of an adopted tree by pidfds.

use std::time::{Duration, Instant};

use super::keeper::{ExitState, Keeper};
use crate::error::KeeperError;
use promptd_model::Exited;
use promptd_sys::{self as sys, PidFd, WaitResult};

impl Keeper {
    /// Reaps children; answers whether the process tree is empty.
    pub(super) fn reap(&mut self, now: Instant) -> Result<bool, KeeperError> {
        let mut agent_exit = None;
        let childless = loop {
            match sys::wait_any().map_err(KeeperError::System)? {
                WaitResult::Exited(exit) if self.agent.is_child && exit.pid == self.agent.pid() => {
                    agent_exit = Some(exit);
                }
                WaitResult::Exited(_) => {}
                WaitResult::NoneExited => break false,
                WaitResult::NoChildren => break true,
            }
        };
        if let Some(exit) = agent_exit {
            self.agent.running = false;
            // Without children there is nothing left, and /proc need not be scanned.
            let leftover_processes = if childless { 0 } else { self.status().processes };
            let cause = self.stop.as_ref().and_then(|stop| stop.cause);
            let lingered = self.stop.is_some() && cause.is_none();
            self.set_exit_due(Exited {
                leftover_processes,
                ..self.agent.exited(&exit, self.age.at(now), cause, lingered)
            });
            self.pump(now).ok();
        }
        Ok(childless && (self.agent.is_child || self.scan_adopted_tree(now)))
    }

    fn set_exit_due(&mut self, mut exited: Exited) {
        self.setup.explain_exit(&mut exited);
        let [stdout, stderr] = &self.streams;
        self.exit = ExitState::Due(Box::new(exited), [stdout.size(), stderr.size()]);
    }

    /// Scans a tree that another keeper started; answers whether it is empty. Its orphans go to init, and pidfds
    /// announce their end.
    fn scan_adopted_tree(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.adopted_tree_changed) && self.stop.is_none() {
            return false;
        }
        // If the agent exited before this keeper started, the time of its exit is unknown.
        let age = if self.agent.running {
            self.age.at(now)
        } else {
            Duration::ZERO
        };
        self.agent.running = self.agent.running && self.agent.is_alive();
        let tree = self.agent.tree();
        if !self.agent.running && matches!(self.exit, ExitState::Running) {
            let cause = match &self.stop {
                Some(stop) => stop.cause,
                None => Some(self.agent.lost_cause()),
            };
            self.set_exit_due(Exited {
                cause,
                lingered: cause.is_none(),
                duration: age.as_secs_f64(),
                leftover_processes: u32::try_from(tree.len()).unwrap_or(u32::MAX),
                ..Exited::default()
            });
            self.pump(now).ok();
        }
        self.pidfds = tree.iter().filter_map(|process| PidFd::open(*process).ok()).collect();
        // A process that exited during the scan has no pidfd that announces it, so the tree is scanned again. The same
        // applies to an empty tree, because the exit must be in the journal first.
        let agent_exited = self.agent.running && !tree.iter().any(|process| process.pid == self.agent.pid());
        self.adopted_tree_changed = tree.is_empty() || agent_exited || self.pidfds.len() < tree.len();
        tree.is_empty()
    }
}
