//! The session's repository: cloned, or updated if an earlier session has cloned it.
//!
//! Nothing that an earlier session left is ever deleted. If the folder does not fit, the setup fails, and git's own
//! message says why.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::failure::{SetupFailure, StepStderr, cannot_use};
use super::git::Git;
use promptd_model::RepoRequest;

/// The name of the repository's step in records.
pub(super) fn describe(repo: &RepoRequest) -> String {
    let reference = repo
        .reference
        .as_deref()
        .map_or_else(String::new, |name| format!(" at {name}"));
    format!("git clone {}{reference}", repo.url)
}

/// Clones the repository into `target`, or updates the clone there, and checks out the requested reference.
pub(super) fn clone_or_update(
    repo: &RepoRequest,
    base: &Path,
    target: &Path,
    stderr: &StepStderr,
) -> Result<(), SetupFailure> {
    check_inside(base, target)?;
    // Two sessions that start in the same folder at the same time do this one after another.
    let (_lock, created) = lock(target)?;
    let git = Git { repo, target, stderr };
    let result = git.clone_or_update(base);
    if created && result.is_err() {
        // Removed if it is empty. A process that waits for it creates it again.
        let _not_empty = fs::remove_dir(target);
    }
    result
}

/// Locks the folder for the time of the clone, and creates it if it is missing (then the answer is true).
fn lock(target: &Path) -> Result<(Flock<File>, bool), SetupFailure> {
    let failed = |error: io::Error| cannot_use(target, &error);
    loop {
        fs::create_dir_all(target.parent().unwrap_or(target)).map_err(failed)?;
        let created = match fs::create_dir(target) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        let folder = File::open(target).map_err(failed)?;
        let lock = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((folder, Errno::EWOULDBLOCK)) => {
                eprintln!("waiting for another clone into {}", target.display());
                Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        // The previous owner of the lock may have removed the folder: then this locks a deleted folder.
        let locked = lock.metadata().map_err(failed)?;
        match fs::metadata(target) {
            Ok(found) if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) => return Ok((lock, created)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Refuses a target that symbolic links lead out of the base folder.
fn check_inside(base: &Path, target: &Path) -> Result<(), SetupFailure> {
    let failed = |error: io::Error| cannot_use(target, &error);
    fs::create_dir_all(base).map_err(failed)?;
    let real_base = fs::canonicalize(base).map_err(failed)?;
    let existing = target
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok())
        .unwrap_or(base);
    if fs::canonicalize(existing).map_err(failed)?.starts_with(&real_base) {
        return Ok(());
    }
    let hint = "a symbolic link leads out of the session's cwd; name another repo.dir";
    let target = target.display();
    Err(SetupFailure::new(format!("cannot clone into {target}: {hint}")))
}
