//! The state of a keeper.

use std::fs::File;
use std::time::Instant;

use jiff::Timestamp;
use nix::fcntl::Flock;

use crate::agent::{Agent, StopSequence};
use crate::clock::{AgentAge, RunningClock};
use crate::control::{Control, Response};
use crate::disk::DiskGuard;
use crate::paths::TurnPaths;
use crate::questions::Questions;
use crate::setup::SetupProgress;
use crate::spec::Spec;
use crate::stream::StreamFile;
use crate::wake::WakeSources;
use promptd_journal::{WriteError, Writer};
use promptd_model::{Body, Exited};
use promptd_sys::{PidFd, ProcessIdentity};

/// The state of the agent's exit.
#[derive(Debug)]
pub(super) enum ExitState {
    /// The agent is running.
    Running,
    /// The agent has exited, and what it wrote to a pipe may not be in its output file yet.
    Draining(Box<Exited>, Draining),
    /// The agent has exited. Its record is written when its output up to these file sizes is in the journal.
    Due(Box<Exited>, [u64; 2]),
    /// The `exited` record is in the journal.
    Recorded,
}

/// How far output has to come from a pipe to its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draining {
    /// It is not waited for any longer.
    pub(super) until: Instant,
    /// With this size the file surely has all of it, however much other processes write to the pipe meanwhile.
    pub(super) size: u64,
}

#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) spec: Spec,
    pub(super) paths: TurnPaths,
    pub(super) writer: Writer,
    pub(super) wake: WakeSources,
    pub(super) streams: [StreamFile; 2],
    pub(super) control: Control,
    pub(super) agent: Agent,
    pub(super) exit: ExitState,
    /// Handles on the processes of an adopted tree, which are not children of this process.
    pub(super) pidfds: Vec<PidFd>,
    /// The adopted tree may have changed.
    pub(super) adopted_tree_changed: bool,
    /// The end of the turn is in the journal: later output is late.
    pub(super) turn_ended: bool,
    pub(super) stop: Option<StopSequence>,
    /// A stop sequence is over, and some processes could not be ended.
    pub(super) stop_failed: bool,
    pub(super) disk: DiskGuard,
    pub(super) clock: RunningClock,
    pub(super) age: AgentAge,
    pub(super) setup: SetupProgress,
    /// When the agent last wrote output or received input.
    pub(super) last_activity: Instant,
    pub(super) questions: Questions,
    /// Records that are not in the journal yet, perhaps because the disk is full.
    pub(super) pending: Vec<Body>,
    /// Writing to the journal failed; it is tried again at this time.
    pub(super) retry_write_at: Option<Instant>,
    /// Since when another process has kept the journal locked.
    pub(super) locked_since: Option<Instant>,
    pub(super) buffer: Vec<u8>,
    /// Keeps other keepers away.
    pub(super) _lock: Flock<File>,
}

impl Keeper {
    /// Writes the pending records.
    pub(super) fn write_pending(&mut self) -> Result<(), WriteError> {
        if !self.pending.is_empty() {
            self.writer.append(Timestamp::now(), self.spec.turn, &self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// The answer to a `status` request.
    pub(super) fn status(&self) -> Response {
        Response {
            keeper: i32::try_from(std::process::id()).unwrap_or(0),
            processes: count(&self.agent.processes().others),
            survivors: None,
            error: None,
        }
    }

    /// Whether the journal has reached the session's limit.
    pub(super) fn is_over_limit(&self) -> bool {
        self.writer.size() > self.spec.session_bytes
    }
}

/// How many processes there are.
pub(super) fn count(processes: &[ProcessIdentity]) -> u32 {
    u32::try_from(processes.len()).unwrap_or(u32::MAX)
}
