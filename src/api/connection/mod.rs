//! Connections: how many there may be, which one is closed when there are more, and how long each may take to ask.
//!
//! Owns the loop that accepts, and each connection until its end. Promises that callers, however many and slow, leave
//! room for keepers and for the control socket, that a connection without a request makes room for one with a request,
//! and that a caller beyond the bound is told so. May not know routes.

mod accept;
mod io;
mod limit;

pub(crate) use accept::{Endpoint, accept};
pub(crate) use limit::ClientConnections;
