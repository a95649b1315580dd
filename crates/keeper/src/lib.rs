//! The keeper: one small process per running turn, and the setup process that becomes the agent.
//!
//! Owns the agent's process tree: starts it in its own session, copies its output files into the journal, reaps it,
//! enforces timeouts and limits, freezes it while disk space is low, and can end all of it. Promises that the agent
//! does not notice the keeper's death, and that the next keeper continues at the exact byte where the journal ends.
//! One thread and poll(2), no tokio: while nothing happens, it only checks the free disk space every second. May not
//! know HTTP, the kinds of agents, or the server.
//!
//! ```text
//! start ── lock turn-N.stdout ── spawn ── started ──┬─► output files ► journal      (inotify)
//!                                                   ├─► reap ► exited               (signalfd)
//!                                                   ├─► stop, interrupt, input      (turn-N.sock)
//!                                                   └─► timeouts, disk space        (timeout of poll)
//! end: the process tree is empty and all output is in the journal; then the turn's files are removed
//! ```
//!
//! A turn has exactly one keeper: it holds the `flock` of the turn's stdout file, with a descriptor that the agent does
//! not inherit. A second keeper finds the file locked and exits.
//!
//! If something has to be done before the agent starts, a process of this program does it and then becomes the agent by
//! `exec` (see `setup`). The keeper treats both as one process and copies the setup's progress into the journal.
#![forbid(unsafe_code)]

mod agent;
mod clock;
mod control;
mod disk;
mod error;
mod life;
mod lock_holders;
mod paths;
mod questions;
mod setup;
mod spec;
mod stream;
mod turn_end;
mod wake;

use std::process::ExitCode;

pub use agent::pump_main;
pub use control::{Request, Response, STDIN_NOT_OPEN};
pub use lock_holders::{
    end_agents_with_lock, end_all_processes, end_lock_holders, find_keeper, has_processes, is_of_agent,
};
pub use paths::TurnPaths;
pub use setup::main as setup_main;
pub use spec::{Launch, SetupSpec, Spec, Stdin};

/// The exit code of a keeper if the turn already has one.
pub const EXIT_ALREADY_RUNNING: u8 = 3;

/// Runs as a keeper: reads its task from standard input, and returns when the turn's process tree is empty.
pub fn main() -> ExitCode {
    promptd_sys::name_this_process(c"promptd-keeper");
    match life::keep_turn() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error::KeeperError::AlreadyRunning) => ExitCode::from(EXIT_ALREADY_RUNNING),
        Err(error) => {
            // Only a person who started a keeper by hand reads its standard error.
            let source = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            eprintln!("promptd keeper: {error} {source}");
            ExitCode::FAILURE
        }
    }
}
