//! What needs root: a small disk, a network that is cut, a clock that is set. Needs the feature `real-agents`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod clock;
mod disk_full;
mod network;
