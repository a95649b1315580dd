//! What promptd and a running agent say to each other.

pub(crate) mod io;
pub(crate) mod observe;
mod permissions;
pub(crate) mod state;
