//! Which values are secret, and what hides them.
//!
//! Owns the maskers of the server and its sessions, and `file-secrets.json` in sessions' folders. Promises that whatever
//! is secret when a reader begins is hidden from it. May not know turns.

pub(crate) mod file_secrets;
pub(crate) mod known;
pub(crate) mod masks;
pub(crate) mod session_masker;
