//! Following a journal: waiting until it grows.
//!
//! Owns the watcher, which has one inotify instance for all sessions, and the follower, a masked reader that can wait.
//! Promises that appended records wake their readers, that a read never blocks a runtime thread, and that nothing is
//! polled while inotify works. May not write.
#![forbid(unsafe_code)]

mod follower;
mod watcher;

pub use follower::Follower;
pub use watcher::{Watch, Watcher};
