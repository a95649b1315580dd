//! What the standard library and `nix` lack: the only place with `unsafe`.
//!
//! Owns the calls to the kernel that need care: child set-up between fork and exec, `wait4`, pidfds, reads
//! that do not block, hole punching, `/proc`, what others may see of us. Promises small safe functions, each with the reason for its
//! `unsafe`. May not know what a session, a turn or an agent is.
#![expect(unsafe_code, reason = "this is the one module that may")]

#[cfg(feature = "tokio")]
mod async_fd;
mod child;
mod clock;
#[cfg(feature = "tokio")]
mod clock_set;
mod disk;
mod file;
mod private;
mod process;
mod socket;
mod temporary;

#[cfg(feature = "tokio")]
pub use async_fd::{Registered, register_inotify, register_pidfd, register_stdin};
pub use child::{ChildSetup, Exit, Waited, name_this_process, prepare_keeper, spawn, wait_any};
pub use clock::Clocks;
#[cfg(feature = "tokio")]
pub use clock_set::ClockSet;
pub use disk::{Space, punch_hole, reserve, space, tree_bytes};
pub use file::{pread_cached, random, replace};
pub use private::{make_private, take_variable};
pub use process::{
    Identity, PidFd, Tree, boot_id, boottime_seconds, find_tree, identity, oom_kills, parse_stat, signal_all,
    signal_name, start_ticks,
};
pub use socket::{bind_in, connect_in};
pub use temporary::TemporaryFolder;
