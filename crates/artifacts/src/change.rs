//! What is compared, and what a change is.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

/// Maximum number of changed files that are listed.
pub const MAX_FILES: usize = 10_000;

/// Maximum bytes of the files in an archive.
pub const MAX_BYTES: u64 = 1 << 30;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// The working directory.
    pub cwd: PathBuf,
    /// The commit at the start of the first agent.
    pub commit: Option<String>,
    /// A time just before that start.
    pub since: Timestamp,
    /// When the session's turns ran. Without git, only files that were last changed then are its changes.
    pub turns: Vec<Span>,
    /// A folder that does not exist yet, for the copy of the index.
    pub scratch: PathBuf,
    /// A folder to skip: promptd's home.
    pub exclude: PathBuf,
}

/// From a time to a later one, both included; without an end it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The begin.
    pub start: Timestamp,
    /// The end.
    pub end: Option<Timestamp>,
}

impl Span {
    /// Whether the time is in it.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && self.end.is_none_or(|end| time <= end)
    }

    /// Whether both have a time in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.start) || other.contains(self.start)
    }
}

/// How a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// It is new.
    Added,
    /// Its content, mode or type was changed.
    Modified,
    /// It was deleted.
    Deleted,
    /// It was renamed, and its content may have changed.
    Renamed,
}

/// A changed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path, relative to the working directory.
    pub path: PathBuf,
    /// Its path before the rename.
    pub from: Option<PathBuf>,
    /// How it was changed.
    pub status: ChangeStatus,
    /// Its size in bytes; for a symbolic link the length of its target.
    pub size: Option<u64>,
}

/// The size of a file or of a symbolic link; `None` for anything else.
pub(super) fn size(path: &Path) -> Option<u64> {
    let metadata = path.symlink_metadata().ok()?;
    let is_content = metadata.is_file() || metadata.is_symlink();
    is_content.then_some(metadata.len())
}
