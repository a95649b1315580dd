//! A turn from its request to its end.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod causes;
mod completion;
mod content_blocks;
mod idempotency;
mod options;
mod pipes;
mod process_environment;
mod resource_leaks;
mod stop;
