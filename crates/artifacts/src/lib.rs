//! What a session's turns changed in its working directory.
//!
//! In a git repository: the difference to the commit at the start of the first agent, including commits and untracked files,
//! but not ignored files. Elsewhere: the files that were last changed while a turn ran, by the change times that the
//! kernel keeps; there deleted files cannot be found.
//!
//! Owns how changes are found, and the patch and archive formats. Promises that nothing in the working directory changes
//! (git works on a copy of its index in the session's folder), that symbolic links are never followed, and that memory and
//! time are limited. Calls may block: git runs as a child, and files are read. May not mask secrets: callers do that.
//!
//! The configuration of a repository can name programs, and the agent may have written it. So git gets an environment
//! without secrets, and everything that runs programs is turned off.
#![forbid(unsafe_code)]

mod archive;
mod artifacts;
mod change;
mod child;
mod error;
mod git;
mod scan;

pub use archive::write as write_archive;
pub use artifacts::Artifacts;
pub use change::{Baseline, Change, ChangeStatus, MAX_BYTES, MAX_FILES, Span};
pub use error::ArtifactError;
