//! Rules of the source tree that the compiler does not hold.
//!
//! What a crate boundary proves is not here: that the keeper has no tokio is in its `Cargo.toml`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod dependencies;
mod imports;
mod rules;
mod source;
