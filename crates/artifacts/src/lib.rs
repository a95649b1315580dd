//! What a session's turns changed in its working directory.
//!
//! In a git repository: the difference to the commit at the start of the first agent, including commits and untracked files,
//! but not ignored files. Elsewhere: the files that were changed since then, by the change times that the kernel keeps;
//! there deleted files cannot be found.
//!
//! Owns how changes are found, and the patch and archive formats. Promises that nothing in the working directory changes
//! (git works on a copy of its index in the session's folder), that symbolic links are never followed, and that memory and
//! time are limited. Calls may block: git runs as a child, and files are read. May not mask secrets: callers do that.
//!
//! The configuration of a repository can name programs, and the agent may have written it. So git gets an environment
//! without secrets, and everything that runs programs is turned off.
#![forbid(unsafe_code)]

mod archive;
mod child;
mod git;
mod scan;

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

pub use archive::write as write_archive;
use git::Repository;

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
    /// A folder that does not exist yet, for the copy of the index.
    pub scratch: PathBuf,
    /// A folder to skip: promptd's home.
    pub exclude: PathBuf,
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

/// Why changes cannot be found or returned.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Git failed.
    #[error("git cannot tell what has changed: {0}")]
    Git(String),
    /// Git took too long.
    #[error("git has not told what has changed within {0} s; ask for fewer changes, or look at the folder itself")]
    Slow(u64),
    /// There is no commit to compare with.
    #[error(
        "there is no patch: the first turn did not begin in a git repository with a commit; use format=json or tar.gz"
    )]
    NoRepository,
    /// Too many files.
    #[error("more than {MAX_FILES} files have changed; format=json lists the first of them")]
    TooMany,
    /// Too many bytes.
    #[error("the changed files have {0} bytes, and an archive at most {MAX_BYTES}; read them one by one")]
    TooLarge(u64),
    /// The reader of the output is gone.
    #[error("the reader has gone")]
    ReaderGone,
    /// A file could not be used.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The changes at one time.
#[derive(Debug)]
pub struct Artifacts {
    /// The changed files, sorted by path; at most [`MAX_FILES`].
    pub files: Vec<Change>,
    /// There are more changed files.
    pub truncated: bool,
    repository: Option<Repository>,
}

impl Artifacts {
    /// Finds the changes.
    pub fn find(baseline: &Baseline) -> Result<Self, ArtifactError> {
        let repository = Repository::open(baseline)?;
        let (mut files, mut truncated) = match &repository {
            Some(repository) => repository.changes()?,
            None => scan::changes(baseline),
        };
        files.sort_by(|a, b| a.path.cmp(&b.path));
        truncated |= files.len() > MAX_FILES;
        files.truncate(MAX_FILES);
        Ok(Self {
            files,
            truncated,
            repository,
        })
    }

    /// The commit that the files are compared with.
    pub fn base(&self) -> Option<&str> {
        self.repository.as_ref().map(Repository::base)
    }

    /// Writes the patch block by block. With `applicable` it has all that `git apply` needs, including binary content.
    pub fn patch(
        &self,
        applicable: bool,
        write: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        let repository = self.repository.as_ref().ok_or(ArtifactError::NoRepository)?;
        repository.patch(applicable, write)
    }

    /// Refuses changes that cannot be returned completely.
    pub fn check_complete(&self, with_content: bool) -> Result<(), ArtifactError> {
        if self.truncated {
            return Err(ArtifactError::TooMany);
        }
        let bytes = self
            .files
            .iter()
            .filter_map(|file| file.size)
            .fold(0, u64::saturating_add);
        if with_content && bytes > MAX_BYTES {
            return Err(ArtifactError::TooLarge(bytes));
        }
        Ok(())
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> ArtifactError + use<> {
    let path = path.to_owned();
    move |source| ArtifactError::Io {
        path: path.clone(),
        source,
    }
}

/// The size of a file or of a symbolic link; `None` for anything else.
fn size(path: &Path) -> Option<u64> {
    let metadata = path.symlink_metadata().ok()?;
    let is_content = metadata.is_file() || metadata.is_symlink();
    is_content.then_some(metadata.len())
}
