//! Killed processes and damaged files.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod corruption;
mod hostile_agents;
mod hostile_homes;
mod orphans;
mod processes;
mod versions;
