//! What a session's turns changed in its working directory.
//!
//! Where the first agent began in a git repository: the difference to the commit of that moment, commits and files
//! that git does not know included, ignored ones left out. Elsewhere: the files that changed since, by the times that
//! the kernel keeps; what was deleted cannot be seen there.
//!
//! Promises that nothing in the working directory changes by being looked at (git works on a copy of its index, in the
//! session's folder), that symbolic links are never followed, and that memory and time are bound. Whoever calls it may
//! wait: git runs as a child, and files are read. Secrets are the caller's business.
//!
//! A repository's own configuration can name programs, and the agent may have written it: git gets an environment
//! without secrets, and everything that can be turned off is.
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

/// More changed files are not listed: nobody reads them one by one.
pub const MOST_FILES: usize = 10_000;

/// More bytes are not packed into an archive.
pub const MOST_BYTES: u64 = 1 << 30;

/// Where to look, and since when.
#[derive(Clone, Debug)]
pub struct Place {
    /// The working directory.
    pub cwd: PathBuf,
    /// The commit with which the first agent began.
    pub commit: Option<String>,
    /// A moment just before it did.
    pub since: Timestamp,
    /// A folder of ours that does not exist yet, for what git needs.
    pub scratch: PathBuf,
    /// A folder that is none of the session's work: our own home.
    pub except: PathBuf,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ChangeStatus)]
pub enum Status {
    /// It is new.
    Added,
    /// It has other content, another mode or another kind.
    Modified,
    /// It is no longer there.
    Deleted,
    /// It has another name, and perhaps other content.
    Renamed,
}

/// A changed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path, relative to the working directory.
    pub path: PathBuf,
    /// Its path before it was renamed.
    pub from: Option<PathBuf>,
    /// What became of it.
    pub status: Status,
    /// Its size in bytes; a symbolic link's is that of its text.
    pub size: Option<u64>,
}

/// Why it cannot be told.
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
    #[error("more than {MOST_FILES} files have changed; format=json lists the first of them")]
    TooMany,
    /// Too many bytes.
    #[error("the changed files have {0} bytes, and an archive at most {MOST_BYTES}; read them one by one")]
    TooLarge(u64),
    /// Whoever asked has gone.
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

/// The changes of one moment.
#[derive(Debug)]
pub struct Artifacts {
    /// The changed files, sorted by path; at most [`MOST_FILES`].
    pub files: Vec<Change>,
    /// There are more.
    pub truncated: bool,
    repository: Option<Repository>,
}

impl Artifacts {
    /// Looks what has changed.
    pub fn find(place: &Place) -> Result<Self, ArtifactError> {
        let repository = Repository::open(place)?;
        let (mut files, mut truncated) = match &repository {
            Some(repository) => repository.changes()?,
            None => scan::changes(place),
        };
        files.sort_by(|a, b| a.path.cmp(&b.path));
        truncated |= files.len() > MOST_FILES;
        files.truncate(MOST_FILES);
        Ok(Self {
            files,
            truncated,
            repository,
        })
    }

    /// The commit that all is compared with.
    pub fn base(&self) -> Option<&str> {
        self.repository.as_ref().map(Repository::base)
    }

    /// The patch, block by block; `applicable` with all that `git apply` needs, binary content included.
    pub fn patch(
        &self,
        applicable: bool,
        take: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        let repository = self.repository.as_ref().ok_or(ArtifactError::NoRepository)?;
        repository.patch(applicable, take)
    }

    /// Refuses what cannot be given whole.
    pub fn check_whole(&self, with_content: bool) -> Result<(), ArtifactError> {
        if self.truncated {
            return Err(ArtifactError::TooMany);
        }
        let bytes = self
            .files
            .iter()
            .filter_map(|file| file.size)
            .fold(0, u64::saturating_add);
        if with_content && bytes > MOST_BYTES {
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

/// The size of what is there, links not followed; none of what is no file.
fn size(path: &Path) -> Option<u64> {
    let metadata = path.symlink_metadata().ok()?;
    let is_content = metadata.is_file() || metadata.is_symlink();
    is_content.then_some(metadata.len())
}
