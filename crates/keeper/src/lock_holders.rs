//! Processes of agents that keep a session from going on, or that nobody can be asked to end.
//!
//! Agents run as the same user, so they can lock files of ours and damage them. What they do to a session may cost that
//! session, and no more.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::paths::{MARKER, TurnPaths};
use promptd_sys::{self as sys, Marker, ProcessIdentity, TreeQuery};

/// How long processes may take to end after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

const KILL_INTERVAL: Duration = Duration::from_millis(20);

/// Ends processes of agents that keep the lock of a file in a session's folder; answers how many. Others, such as a
/// person's, are left alone, and so are promptds that an agent has started with a home of their own.
pub fn end_lock_holders(file: &Path) -> usize {
    let Some(sessions) = file.parent().and_then(Path::parent) else {
        return 0;
    };
    let marker = format!("{MARKER}={}/", sessions.display());
    let mut holders = sys::lock_holders(file);
    holders.retain(|holder| sys::has_marker(holder.pid, Marker::BeginsWith(&marker)));
    sys::signal_all(&holders, Signal::SIGKILL);
    holders.len()
}

/// The keeper of a turn, whether or not it answers.
pub fn find_keeper(paths: &TurnPaths) -> Option<ProcessIdentity> {
    let turn = paths.turn().to_string();
    let folder = paths.folder().as_os_str().as_encoded_bytes();
    let keepers = sys::find_by_arguments(&[b"keeper", folder, turn.as_bytes()]);
    keepers.into_iter().next()
}

/// Ends all processes of all turns of a session, and their keepers, without asking anybody: for a session whose files are
/// damaged or gone. Answers how many could not be ended. Blocks for up to five seconds.
pub fn end_all_processes(folder: &Path) -> u32 {
    let begun = Instant::now();
    loop {
        let keepers = keepers(folder);
        let agents = agents(folder, &keepers);
        if agents.is_empty() {
            sys::signal_all(&keepers, Signal::SIGKILL);
            if keepers.is_empty() {
                return 0;
            }
        } else {
            // Stopped first, so that no process can fork while the others are killed.
            sys::signal_all(&agents, Signal::SIGSTOP);
            sys::signal_all(&agents, Signal::SIGKILL);
        }
        if begun.elapsed() > KILL_TIMEOUT {
            return u32::try_from(agents.len().saturating_add(keepers.len())).unwrap_or(u32::MAX);
        }
        std::thread::sleep(KILL_INTERVAL);
    }
}

fn keepers(folder: &Path) -> Vec<ProcessIdentity> {
    sys::find_by_arguments(&[b"keeper", folder.as_os_str().as_encoded_bytes()])
}

fn agents(folder: &Path, keepers: &[ProcessIdentity]) -> Vec<ProcessIdentity> {
    let roots: Vec<i32> = keepers.iter().map(|keeper| keeper.pid).collect();
    sys::find_tree(TreeQuery {
        roots: &roots,
        leader: None,
        marker: Marker::BeginsWith(&TurnPaths::markers(folder)),
        outputs: &[],
    })
}
