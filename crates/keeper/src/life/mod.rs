//! The life of a keeper: start, rounds, end.
//!
//! Owns the state of a keeper and its loop. A round copies output into the journal, reaps, handles requests, enforces
//! limits, and then waits for the next event. Promises that no step blocks, and that records are written in the order in
//! which things happened. May not know what the output means.

mod keeper;
mod limits;
mod pump;
mod reap;
mod run;
mod start;

pub(crate) use run::keep_turn;
