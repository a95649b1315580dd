//! Freezing the tree while the disk is nearly full.
//!
//! Agents are not told to write less: they are stopped, and go on as if nothing had been when there is room.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::agent::Agent;
use super::clock::AT_LEAST_EACH;
use promptd_model::Body;
use promptd_sys as sys;

/// How often the room is looked at; a file system tells nobody when it runs full.
const WHILE_RUNNING: Duration = AT_LEAST_EACH;
const WHILE_FROZEN: Duration = Duration::from_millis(200);

/// The guard of the disk.
#[derive(Debug)]
pub(super) struct DiskGuard {
    min_free: u64,
    frozen: bool,
    next_look: Instant,
    /// Records that could not be written when they were due, because the disk was full.
    pub(super) pending: Vec<Body>,
}

impl DiskGuard {
    pub(super) fn new(min_free: u64, frozen: bool, now: Instant) -> Self {
        Self {
            min_free,
            frozen,
            next_look: now,
            pending: Vec::new(),
        }
    }

    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Freezes or thaws the tree as the room demands; `full` when a write has just failed.
    pub(super) fn look(&mut self, agent: &Agent, folder: &Path, full: bool, now: Instant) {
        let Ok(space) = sys::space(folder) else { return };
        // Some way back before it goes on, or it would stop and go with every block.
        let enough = self.min_free.saturating_add(self.min_free / 8);
        if !self.frozen && (full || space.free < self.min_free) {
            self.frozen = true;
            sys::signal_all(&agent.tree(), Signal::SIGSTOP);
            // Again, for what was forked meanwhile.
            sys::signal_all(&agent.tree(), Signal::SIGSTOP);
            let reason = format!(
                "{} bytes of disk are free, limits.min_free_bytes is {}",
                space.free, self.min_free
            );
            self.pending.push(Body::Frozen { reason });
        } else if self.frozen && !full && space.free >= enough {
            let reason = format!("{} bytes of disk are free", space.free);
            self.thaw(agent, reason);
        }
        self.next_look = now + if self.frozen { WHILE_FROZEN } else { WHILE_RUNNING };
    }

    /// Lets the tree go on.
    pub(super) fn thaw(&mut self, agent: &Agent, reason: String) {
        if std::mem::take(&mut self.frozen) {
            sys::signal_all(&agent.tree(), Signal::SIGCONT);
            self.pending.push(Body::Thawed { reason });
        }
    }
}
