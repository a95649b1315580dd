//! The changes at one time.

use crate::change::{Baseline, Change, MAX_BYTES, MAX_FILES};
use crate::error::ArtifactError;
use crate::git::Repository;
use crate::scan;

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
