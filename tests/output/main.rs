//! What an agent writes, as readers get it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod backpressure;
mod cursors;
mod output_fidelity;
mod unclean_lines;
mod updates_view;
