//! The turns of a session: queued, started, supervised, read to their end, tried again, stopped.
//!
//! The journal holds the whole state of a turn: the driver reads it, does what is due, and waits for the next change. So a
//! restart continues where the last server ended. May not know HTTP, nor how sessions come and go.

pub(crate) mod abandon;
pub(crate) mod driver;
mod finish;
mod outcome;
pub(crate) mod parts;
pub(crate) mod queue;
mod run;
mod start;
pub(crate) mod stop;
mod supervisor;
mod tick;
