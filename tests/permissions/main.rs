//! Agents with a dialog: permission questions, restarts, cancellation.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod answers;
mod cancellation;
mod forms;
mod openings;
mod restarts;
mod steering;
