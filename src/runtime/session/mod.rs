//! A session: its folder, its state, and what the server does for it at the moment.
//!
//! Owns `session.json` and the server's side of `journal.ndjson`. Promises that what a decision saw of the state still
//! holds when its records are written. May not know how turns run.

pub(crate) mod control;
pub(crate) mod handle;
pub(crate) mod journal;
pub(crate) mod own_sinks;
pub(crate) mod private_home;
pub(crate) mod registry;
pub(crate) mod store;
