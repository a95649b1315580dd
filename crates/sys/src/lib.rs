//! System calls that the standard library and `nix` lack: the only crate with `unsafe`.
//!
//! Owns the calls to the kernel that need care: child setup between fork and exec, `wait4`, pidfds, reads that do not
//! block, hole punching, `/proc`, and the privacy of the process. Opens files, locks and sockets of ours so that no other
//! process of this user can make them block. Promises small, safe functions, each with a reason for its
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
mod lock;
mod pipe;
mod private;
mod process;
mod socket;
mod temporary;
mod user;
mod waited_child;

#[cfg(feature = "tokio")]
pub use async_fd::{Registered, register_inotify, register_pidfd, register_stdin};
pub use child::{
    ChildExit, ChildSetup, WaitResult, ignore_signals, name_this_process, prepare_keeper, spawn, wait_any,
};
pub use clock::Clocks;
#[cfg(feature = "tokio")]
pub use clock_set::ClockSet;
pub use disk::{DiskSpace, disk_space, folder_bytes, punch_hole, reserve_space};
pub use file::{
    StagedFile, make_blocking, open_own, open_own_fifo, open_regular, pread_cached, random_bytes, read_own,
    read_own_or_linked, read_regular, replace_file, stage_file,
};
pub use file_limit::{file_limit, inherited_file_limit, raise_file_limit, restore_file_limit, set_file_limit};
pub use lock::{lock_file, lock_holders};
pub use pipe::{tee, unread_bytes};
pub use private::{make_private, set_env_variable, take_env_variable};
pub use process::{
    GroupActivity, Marker, PidFd, ProcessIdentity, TreeQuery, ancestry, arguments, boot_id, boottime_seconds,
    find_by_arguments, find_tree, group_activity, has_marker, identity, is_stopped, is_uninterruptible, oom_kills,
    parse_stat, signal_all, signal_name, start_ticks,
};
pub use socket::{bind_unix, connect_unix, is_listening, is_own_peer, peer_pid};
pub use temporary::TemporaryFolder;
pub use user::is_own_user;
pub use waited_child::{WaitedChild, adopts_orphans, reap_orphans};
