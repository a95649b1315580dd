//! Records on their way to backends, and the hostile backend that tests them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod dead_backends;
mod metrics;
mod ordering;
mod payload_limits;
mod refusals;
mod retention;
mod routing;
mod test_backend;
mod webhooks_and_otel;
