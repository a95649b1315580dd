//! The workers that deliver.
//!
//! Owns the state of each sink of each session, the worker loop, and what all sinks of a server share. Promises that
//! a sink has at most one worker, and that a worker ends when everything is delivered and no more records will come.
//! May not know the format of messages.

mod attempt;
mod counters;
mod shared;
mod state;
mod worker;
mod workers;

pub use counters::{Counters, Counts};
pub use shared::Delivery;
pub use state::{SinkState, SinkStatus};
pub use workers::SinkWorkers;
