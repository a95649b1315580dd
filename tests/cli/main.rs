//! The command line through the real binary.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod prompts;
mod run;
mod serve;
mod terminal;
