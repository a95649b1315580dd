//! Recordings of the real agents, played through the whole system: a stand-in program writes what they once wrote.
//!
//! The real programs are run by the second lane, `tests/real_agents`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod dialogs;
mod turns;
