//! Masking: finds known secrets in everything that leaves, and replaces them by `***`.
//!
//! Owns the collection of secrets ([`Secrets`]), the forms in which they are searched, and the search ([`Masker`]): as they
//! are, JSON-escaped, percent-encoded and in base64. Promises that the union of all occurrences is hidden, so nothing is
//! left of overlapping secrets, and that whether a byte is hidden only depends on bytes near it, not on where the search
//! started.
//!
//! Limits (also in the documentation): values shorter than six bytes are not hidden, nor other forms (hex, compression,
//! encryption, or a value that is split by anything but a chunk's border). In base64 of more than the value, one
//! character at each end stays visible. Wrapped base64 is only found if the value was encoded alone, with lines of 64 or
//! 76 characters: tools wrap every key that is longer than 48 bytes.
//!
//! May not do I/O, and may not use another crate of the workspace.
#![forbid(unsafe_code)]

mod forms;
mod json;
mod masker;
mod names;
mod secrets;

pub use masker::{MaskedChunk, Masker, masked};
pub use secrets::{Secrets, credentials};

/// Replaces a secret.
pub const MASK: &str = "***";
