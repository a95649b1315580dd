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
    #[error(
        "git has not found out within {0} s what has changed, so nothing is listed; try again (it is faster when the files are in memory), or run `git status` in the session's folder"
    )]
    Slow(u64),
    /// Git cannot be started.
    #[error("git cannot be started; install it, or try again if the machine is out of memory or processes")]
    NotStarted(#[source] io::Error),
    /// Git waits for something that does not come.
    #[error(
        "git waits for something in the folder that does not come, such as a FIFO in the place of a .gitignore or of its \
         configuration; find one with `find . -type p`, and remove it"
    )]
    Stalled,
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

/// The answer to a question that git answers by success or failure. A git that was too slow has not answered.
pub(super) fn yes_or_no<T>(answer: Result<T, ArtifactError>) -> Result<Option<T>, ArtifactError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ArtifactError::Git(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> ArtifactError + use<> {
    let path = path.to_owned();
    move |source| ArtifactError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_git_is_an_answer() {
        assert!(matches!(yes_or_no(Ok(1)), Ok(Some(1))));
        assert!(matches!(
            yes_or_no::<u8>(Err(ArtifactError::Git(String::new()))),
            Ok(None)
        ));
        assert!(matches!(
            yes_or_no::<u8>(Err(ArtifactError::Slow(60))),
            Err(ArtifactError::Slow(60))
        ));
        let error = io::Error::from_raw_os_error(11);
        let none = yes_or_no::<u8>(Err(ArtifactError::NotStarted(error)));
        assert!(matches!(none, Err(ArtifactError::NotStarted(_))));
    }
}
