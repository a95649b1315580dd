//! The server itself: health, versions, agents, metrics, configuration.
//!
//! Promises that health needs no token and no secret is shown. May not touch sessions.

pub(crate) mod configuration;
pub(crate) mod info;
pub(crate) mod metrics;
