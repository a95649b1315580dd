//! System calls that the standard library and `nix` lack: the only crate with `unsafe`.
//!
//! Owns the calls to the kernel that need care: child setup between fork and exec, `wait4`, pidfds, reads that do not
//! block, hole punching, `/proc`, and the privacy of the process. Promises small, safe functions, each with a reason for its
//! `unsafe`. May not know what a session, a turn or an agent is.
#![expect(unsafe_code, reason = "this is the only crate that may")]

#[cfg(feature = "tokio")]
mod async_fd;
mod child;
mod clock;
#[cfg(feature = "tokio")]
mod clock_set;
mod disk;
mod file;
mod file_limit;
mod private;
mod process;
mod socket;
mod temporary;

#[cfg(feature = "tokio")]
pub use async_fd::{Registered, register_inotify, register_pidfd, register_stdin};
pub use child::{ChildExit, ChildSetup, WaitResult, name_this_process, prepare_keeper, spawn, wait_any};
pub use clock::Clocks;
#[cfg(feature = "tokio")]
pub use clock_set::ClockSet;
pub use disk::{DiskSpace, disk_space, folder_bytes, punch_hole, reserve_space};
pub use file::{pread_cached, random_bytes, replace_file};
pub use file_limit::{file_limit, inherited_file_limit, raise_file_limit, restore_file_limit, set_file_limit};
pub use private::{make_private, set_env_variable, take_env_variable};
pub use process::{
    PidFd, ProcessIdentity, TreeQuery, boot_id, boottime_seconds, find_tree, identity, oom_kills, parse_stat,
    signal_all, signal_name, start_ticks,
};
pub use socket::{bind_unix, connect_unix};
pub use temporary::TemporaryFolder;
