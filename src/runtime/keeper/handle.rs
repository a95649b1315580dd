//! A turn's keeper, as the server sees it; one keeper may follow another under the same handle.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

use promptd_keeper::TurnPaths;
use promptd_sys as sys;

/// A turn's keeper.
#[derive(Debug)]
pub(crate) struct KeeperHandle {
    /// The session's id.
    pub(crate) session: String,
    pub(crate) turn: u32,
    pub(crate) paths: TurnPaths,
    /// The keeper's pid, or 0.
    pid: AtomicI32,
    /// The turn's tree is empty, and all its output is in the journal.
    tree_ended: watch::Sender<bool>,
    /// The agent's open standard input: a second holder, so that it outlives a keeper.
    stdin: Mutex<Option<File>>,
}

impl KeeperHandle {
    pub(crate) fn new(session: String, folder: &Path, turn: u32) -> Self {
        Self {
            session,
            turn,
            paths: TurnPaths::new(folder, turn),
            pid: AtomicI32::new(0),
            tree_ended: watch::Sender::new(false),
            stdin: Mutex::default(),
        }
    }

    /// Waits until the turn's tree is empty.
    pub(crate) async fn tree_ended(&self) {
        // The sender lives in self, so it cannot be closed.
        let mut ended = self.tree_ended.subscribe();
        let _ended = ended.wait_for(|ended| *ended).await;
    }

    pub(crate) fn mark_tree_ended(&self) {
        self.tree_ended.send_replace(true);
    }

    /// Which process is the keeper; `None` where there is none at the moment.
    pub(crate) fn set_pid(&self, pid: Option<i32>) {
        self.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    /// Continues a keeper that somebody has stopped.
    pub(crate) fn wake(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills a keeper that does not answer; its supervisor starts another one.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid.load(Ordering::Relaxed);
        if pid > 0 {
            // It may have ended by itself.
            let _sent = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Holds the agent's standard input open, too.
    pub(crate) fn hold_stdin(&self) {
        let fifo = sys::open_own_fifo(&self.paths.stdin_fifo(), File::options().read(true).write(true));
        *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = fifo.ok();
    }

    /// Closes it: the caller has sent its last input.
    pub(crate) fn release_stdin(&self) {
        *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Without its name, no later keeper opens it again.
        let _removed = std::fs::remove_file(self.paths.stdin_fifo());
    }
}
