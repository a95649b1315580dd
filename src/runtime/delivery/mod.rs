//! Which sinks a session has, and what delivery may know of it.

pub(crate) mod service;
pub(crate) mod sinks;
