//! Waiting for a journal to grow: one inotify instance wakes all readers of all sessions.
//!
//! Owns the watcher and the follower, a masked reader that can wait. Promises that what is appended wakes its readers,
//! that a reader never blocks a runtime thread on the disk, and that nobody polls while inotify works. May not write.
#![forbid(unsafe_code)]

mod follower;
mod watcher;

pub use follower::Follower;
pub use watcher::{Watch, Watcher};
