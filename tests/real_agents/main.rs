//! The real agent CLIs and client libraries, from npm. Needs the feature `real-agents`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod acp_python;
mod acp_typescript;
mod limits;
mod node;
mod sdk_typescript;
mod table;
mod tools;
