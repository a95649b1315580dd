//! The dialog between promptd and a running agent: what it says, what it asks, what is still to be said to it.
//!
//! Promises that an agent gets each line once, whichever server is killed in between: what was said is in the journal.
//! May not know how a turn is started.

pub(crate) mod io;
pub(crate) mod permissions;
mod question;
pub(crate) mod state;
pub(crate) mod turn_reader;
