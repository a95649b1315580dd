//! Error responses.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod conflicts;
mod exhaustion;
mod requests;
mod validation;
