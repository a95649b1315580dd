//! Routes that clients of other systems expect.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod execute;
mod sdk;
mod storage;
