//! A sandbox that is baked into a template, paused, cloned or rebooted.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod dormancy;
mod identity;
mod pauses;
mod resume;
