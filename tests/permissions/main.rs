//! Agents that are talked with: permission questions, restarts, cancellation.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod answers;
mod cancellation;
mod restarts;
