//! The examples, and the template for E2B, with real SDKs, PostgreSQL and node. Needs the feature `real-agents`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod backend;
mod e2b;
mod refusals;
mod template;
