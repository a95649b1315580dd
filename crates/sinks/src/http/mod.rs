//! HTTP requests to backends.
//!
//! Owns the clients, the limits on connections, single attempts, and the delays between them. Promises that a dead
//! backend uses a bounded number of connections and never delays a healthy one, and that errors contain no URL, whose
//! path or query may be secret. May not know what is sent.

mod attempt;
mod client;
mod connections;
mod retry;

pub(crate) use attempt::{Envelope, Failure, send};
pub(crate) use client::Clients;
pub(crate) use connections::{Backend, ConnectionLimits, origin};
pub(crate) use retry::{PAUSE, retry_delay};
