//! Clone, setup, and what a job changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod artifacts;
mod named_programs;
mod own_folder;
mod repository;
mod setup;
