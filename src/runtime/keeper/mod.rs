//! The server's side of keepers: starting one, asking it, and having it end its process tree.
//!
//! The keeper itself is the crate `promptd-keeper`. Knows a turn by its files only, not by its session.

pub(crate) mod client;
pub(crate) mod handle;
pub(crate) mod stop;
