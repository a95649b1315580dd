//! The keeper: one small process per running turn, this same binary re-executed.
//!
//! Owns the agent's process tree: starts it in its own session, follows its output files into the journal,
//! reaps, times, freezes it when the disk is full, and can take all of it down. Promises that the agent never
//! notices the keeper's death, and that a new keeper goes on at the byte where the journal ends. One thread,
//! poll(2), no tokio; while nothing happens, no work but a look at the free disk each second. It may use `journal`
//! (without its async parts), `model` and `sys`, and it may not know HTTP, agents or the server.
//!
//! ```text
//! start ── lock turn-N.stdout ── spawn ── started ──┬─► stream file ► journal      (inotify)
//!                                                   ├─► reap ► exited              (signalfd)
//!                                                   ├─► stop, interrupt, input     (turn-N.sock)
//!                                                   └─► timeouts, disk             (poll's timeout)
//! end: the tree is empty and all output is in the journal; then the turn's files are removed
//! ```
//!
//! Where something has to be done before the agent starts, a further process of ours does it and then becomes the
//! agent (`setup`): to the keeper both are one process, of which it journals how far it is (`marks`).
//!
//! Exactly one keeper keeps a turn: it holds the `flock` of the turn's stdout file (by a descriptor of its own,
//! which the agent does not inherit). A second one finds it locked and leaves.
#![forbid(unsafe_code)]

mod agent;
mod clock;
mod control;
mod disk;
mod ladder;
mod late;
mod marks;
mod origin;
mod paths;
mod pump;
mod questions;
mod repo;
mod setup;
mod spec;
mod start;
mod stream;
mod watch;
mod work;

pub use control::{Request, Response, STDIN_NOT_OPEN};
pub use paths::TurnPaths;
pub use setup::main as setup;
pub use spec::{Launch, Preparation, Spec, Stdin};
pub use work::main;

/// The exit code of a keeper that found another one at work.
pub const EXIT_ALREADY_KEPT: u8 = 3;
