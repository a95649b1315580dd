//! Agents with a dialog: permission questions, restarts, cancellation.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod answers;
mod cancellation;
mod codex;
mod forms;
mod grants;
mod interrupted;
mod modes;
mod openings;
mod pretend;
mod restarts;
mod steering;
