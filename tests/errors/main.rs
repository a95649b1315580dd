//! Error responses.

mod conflicts;
mod validation;
