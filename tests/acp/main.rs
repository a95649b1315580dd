//! `/v1/acp`: promptd as an agent to clients of the Agent Client Protocol.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod clients;
mod extensions;
mod sessions;
