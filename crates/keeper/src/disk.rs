//! Freezes the process tree while disk space is low.
//!
//! An agent cannot be told to write less. So it is stopped, and continues without noticing when there is space again.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::agent::Agent;
use crate::clock::MAX_ROUND;
use promptd_model::Body;
use promptd_sys as sys;

/// How often the free space is checked: no event reports a full file system.
const INTERVAL: Duration = MAX_ROUND;
const INTERVAL_WHILE_FROZEN: Duration = Duration::from_millis(200);

/// Watches the free disk space.
#[derive(Debug)]
pub(crate) struct DiskGuard {
    min_free: u64,
    frozen: bool,
    next_check: Instant,
}

impl DiskGuard {
    pub(crate) fn new(min_free: u64, frozen: bool, now: Instant) -> Self {
        Self {
            min_free,
            frozen,
            next_check: now,
        }
    }

    pub(crate) fn next_check(&self) -> Instant {
        self.next_check
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Freezes or thaws the tree according to the free space, and answers the record of that. `full` means that a write
    /// has just failed.
    pub(crate) fn check(&mut self, agent: &Agent, folder: &Path, full: bool, now: Instant) -> Option<Body> {
        let space = sys::disk_space(folder).ok()?;
        // More than the minimum, or the tree would be frozen again with the next block.
        let enough = self.min_free.saturating_add(self.min_free / 8);
        let record = if !self.frozen && (full || space.free < self.min_free) {
            self.frozen = true;
            sys::signal_all(&agent.tree(), Signal::SIGSTOP);
            // A second time, for processes that were forked in between.
            sys::signal_all(&agent.tree(), Signal::SIGSTOP);
            let (free, min_free) = (space.free, self.min_free);
            let reason = format!("{free} bytes of disk are free, limits.min_free_bytes is {min_free}");
            Some(Body::Frozen { reason })
        } else if self.frozen && !full && space.free >= enough {
            self.thaw(agent, format!("{} bytes of disk are free", space.free))
        } else {
            None
        };
        self.next_check = now + if self.frozen { INTERVAL_WHILE_FROZEN } else { INTERVAL };
        record
    }

    /// Lets the tree continue, if it is frozen; answers the record of that.
    pub(crate) fn thaw(&mut self, agent: &Agent, reason: String) -> Option<Body> {
        if !std::mem::take(&mut self.frozen) {
            return None;
        }
        sys::signal_all(&agent.tree(), Signal::SIGCONT);
        Some(Body::Thawed { reason })
    }
}
