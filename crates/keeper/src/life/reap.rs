//! Noticing the end of processes: of children by `wait4`, of an adopted tree by pidfds.

use std::time::{Duration, Instant};

use super::keeper::{Draining, ExitState, Keeper, count};
use crate::agent::Processes;
use crate::error::KeeperError;
use promptd_model::Exited;
use promptd_sys::{self as sys, PidFd, WaitResult};

/// How long the output of an agent that has exited may take from a pipe to its file. A process that it left can stop the
/// pump; the turn must end all the same.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

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
            let exited = Exited {
                leftover_processes,
                ..self.agent.exited(&exit, self.age.at(now), cause, lingered)
            };
            self.begin_draining(exited, now);
        }
        self.finish_draining(now);
        Ok(childless && (self.agent.is_child || self.scan_adopted_tree(now)))
    }

    fn begin_draining(&mut self, mut exited: Exited, now: Instant) {
        self.setup.explain_exit(&mut exited);
        // In this order: bytes that move meanwhile are counted twice, and none is missed.
        let in_pipe = self.agent.in_pipe();
        let [stdout, _] = &self.streams;
        let draining = Draining {
            until: now + DRAIN_TIMEOUT,
            size: stdout.size().saturating_add(in_pipe),
        };
        self.exit = ExitState::Draining(Box::new(exited), draining);
        self.finish_draining(now);
    }

    /// Where all output of an agent that has exited is in its files, their sizes say what belongs to it.
    fn finish_draining(&mut self, now: Instant) {
        let ExitState::Draining(_, draining) = &mut self.exit else {
            return;
        };
        if self.disk.is_frozen() {
            // The pump is frozen, too.
            draining.until = now + DRAIN_TIMEOUT;
        }
        let in_pipe = self.agent.in_pipe();
        let [stdout, stderr] = &self.streams;
        let sizes = [stdout.size(), stderr.size()];
        if in_pipe > 0 && stdout.size() < draining.size && now < draining.until {
            return;
        }
        if let ExitState::Draining(exited, _) = std::mem::replace(&mut self.exit, ExitState::Recorded) {
            self.exit = ExitState::Due(exited, sizes);
        }
        self.pump(now).ok();
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
        let Processes { all: tree, others } = self.agent.processes();
        if !self.agent.running && matches!(self.exit, ExitState::Running) {
            let cause = match &self.stop {
                Some(stop) => stop.cause,
                None => Some(self.agent.lost_cause()),
            };
            let exited = Exited {
                cause,
                lingered: cause.is_none(),
                duration: age.as_secs_f64(),
                leftover_processes: count(&others),
                ..Exited::default()
            };
            self.begin_draining(exited, now);
        }
        self.pidfds = tree.iter().filter_map(|process| PidFd::open(*process).ok()).collect();
        // A process that exited during the scan has no pidfd that announces it, so the tree is scanned again. The same
        // applies to an empty tree, because the exit must be in the journal first.
        let agent_exited = self.agent.running && !tree.iter().any(|process| process.pid == self.agent.pid());
        self.adopted_tree_changed = tree.is_empty() || agent_exited || self.pidfds.len() < tree.len();
        tree.is_empty()
    }
}
