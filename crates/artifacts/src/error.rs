//! Why changes cannot be found or returned.

use std::io;
use std::path::{Path, PathBuf};

use crate::change::{MAX_BYTES, MAX_FILES};

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

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> ArtifactError + use<> {
    let path = path.to_owned();
    move |source| ArtifactError::Io {
        path: path.clone(),
        source,
    }
}
