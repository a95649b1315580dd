//! Processes of agents that keep a session from going on, or that nobody can be asked to end.
//!
//! Agents run as the same user, so they can lock files of ours and damage them. What they do to a session may cost that
//! session, and no more.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::paths::{MARKER, TurnPaths};
use promptd_sys::{self as sys, Marker, ProcessIdentity, TreeQuery};

/// How long processes may take to end after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

const KILL_INTERVAL: Duration = Duration::from_millis(20);

/// Ends processes of agents that keep the lock of a file in a session's folder; answers how many.
pub fn end_lock_holders(file: &Path) -> usize {
    let sessions = file.parent().and_then(Path::parent);
    sessions.map_or(0, |sessions| end_agents_with_lock(file, sessions))
}

/// Ends processes of agents that keep the lock of a file; answers how many. `sessions` is the folder of all sessions.
/// Others, such as a person's, are left alone, and so are promptds that an agent has started with a home of their own.
pub fn end_agents_with_lock(file: &Path, sessions: &Path) -> usize {
    let mut holders = sys::lock_holders(file);
    holders.retain(|holder| is_of_agent(holder.pid, sessions));
    sys::signal_all(&holders, Signal::SIGKILL);
    holders.len()
}

/// Whether a process belongs to an agent of one of these sessions: it or one that it descends from has a turn's marker,
/// or it descends from a keeper. So one that clears its environment is recognized, too.
pub fn is_of_agent(pid: i32, sessions: &Path) -> bool {
    let marker = format!("{MARKER}={}/", sessions.display());
    sys::ancestry(pid).enumerate().any(|(distance, pid)| {
        sys::has_marker(pid, Marker::BeginsWith(&marker)) || (distance > 0 && is_keeper(pid, sessions))
    })
}

fn is_keeper(pid: i32, sessions: &Path) -> bool {
    match sys::arguments(pid).as_slice() {
        [word, folder, ..] => word == b"keeper" && Path::new(OsStr::from_bytes(folder)).parent() == Some(sessions),
        _ => false,
    }
}

/// Whether a process of a turn of this session lives, or a keeper.
pub fn has_processes(folder: &Path) -> bool {
    let keepers = keepers(folder);
    !keepers.is_empty() || !agents(folder, &keepers).is_empty()
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
