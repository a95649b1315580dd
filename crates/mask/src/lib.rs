//! Masking: finds known secrets in everything that leaves, and replaces them by `***`.
//!
//! Owns the collection of secrets ([`Secrets`]), the forms in which they are searched, and the search ([`Masker`]): as they
//! are and in base64, each with any escapes of JSON and of percent-encoding, to any depth. In a JSON line only strings are
//! masked, and no words of the format, so that the line can still be read. The exception is a secret that is more than a string,
//! such as one that is JSON itself: it is hidden even if the line is no JSON then.
//!
//! Promises that the union of all occurrences is hidden, so nothing is left of overlapping secrets, and that whether a byte
//! is hidden only depends on bytes near it, not on where the search started.
//!
//! Limits (also in the documentation): values shorter than six bytes are not hidden, nor other forms (hex, compression,
//! encryption, or a value that is split by anything but a border between chunks or parts). In base64 of more than the value,
//! one character at each end stays visible.
//!
//! May not do I/O, and may not use another crate of the workspace.
#![forbid(unsafe_code)]

mod canonical;
mod forms;
mod json;
mod json_text;
mod masker;
mod names;
mod secrets;
mod values;

pub use canonical::is_wrapped;
pub use json::MaskPart;
pub use masker::{End, MaskedChunk, Masker, masked};
pub use secrets::{Secrets, credentials};

/// Replaces a secret.
pub const MASK: &str = "***";
