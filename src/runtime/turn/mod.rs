//! The turns of a session: queued, started, supervised, read to their end, tried again, stopped.
//!
//! What a turn is, its journal says: whoever drives a session reads its state, does what is due, and waits for the state
//! to change. So a restart continues where the last server ended. May not know HTTP, nor how sessions come and go.

pub(crate) mod driver;
mod finish;
mod outcome;
pub(crate) mod parts;
pub(crate) mod queue;
mod run;
mod start;
pub(crate) mod stop;
mod supervisor;
