//! Authorization and secrets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod authentication;
mod e2b_token;
mod first_configuration;
mod masking;
mod other_users;
mod streamed_secrets;
