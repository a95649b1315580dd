//! Values that are secret, found in whatever leaves and replaced by `***`; pure.
//!
//! [`Secrets`] collects values, [`Masker`] finds them: as they are, JSON-escaped, percent-encoded and in base64.
//! What is hidden is the union of all occurrences of all forms, so that of two secrets that overlap no tail is
//! left, and whether a byte is hidden depends on its neighbourhood only, never on where a search began.
//!
//! Limits, which the documentation repeats: values shorter than six bytes are not hidden, nor forms that are not
//! listed in `forms` (hex, compression, encryption, a value cut into pieces by something else than a chunk's
//! border); base64 of more than the value shows at both ends the one character that the value determines only in
//! part; base64 that is wrapped is found where the value was encoded alone, at 64 or 76 columns.
//!
//! May use no other module.
#![forbid(unsafe_code)]

mod forms;
mod json;
mod masker;
mod names;
mod secrets;

pub use masker::{Masker, Shown, masked};
pub use secrets::{Secrets, credentials};

/// What stands in the place of a secret.
pub const MASK: &str = "***";
