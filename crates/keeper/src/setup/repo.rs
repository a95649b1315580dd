//! The session's repository: cloned, or updated if an earlier session has cloned it.
//!
//! Nothing that an earlier session left is ever deleted. If the folder does not fit, the setup fails, and git's own
//! message says why.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::failure::{SetupFailure, StepStderr, cannot_use};
use super::git::Git;
use promptd_model::RepoRequest;

/// How long a setup waits for another process that has the folder locked: as long as the clone of a large repository.
const LOCK_TIMEOUT: Duration = Duration::from_mins(30);

/// How often the lock is tried, and how often the wait is reported in the turn's output.
const LOCK_RETRY: Duration = Duration::from_millis(200);
const LOCK_REPORT: Duration = Duration::from_secs(30);

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
    let (_lock, created) = lock(target, LOCK_TIMEOUT)?;
    let git = Git { repo, target, stderr };
    let result = git.clone_or_update(base);
    if created && result.is_err() {
        // Removed if it is empty. A process that waits for it creates it again.
        let _not_empty = fs::remove_dir(target);
    }
    result
}

/// Locks the folder for the time of the clone, and creates it if it is missing (then the answer is true).
fn lock(target: &Path, timeout: Duration) -> Result<(Flock<File>, bool), SetupFailure> {
    let begun = Instant::now();
    let failed = |error: io::Error| cannot_use(target, &error);
    loop {
        fs::create_dir_all(target.parent().unwrap_or(target)).map_err(failed)?;
        let created = match fs::create_dir(target) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        let folder = File::open(target).map_err(failed)?;
        let lock = wait_for_lock(folder, target, timeout.saturating_sub(begun.elapsed()))?;
        // The previous owner of the lock may have removed the folder: then this locks a deleted folder.
        let locked = lock.metadata().map_err(failed)?;
        match fs::metadata(target) {
            Ok(found) if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) => return Ok((lock, created)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Locks the open folder. While another process has it locked, the turn's output says so.
fn wait_for_lock(mut folder: File, target: &Path, timeout: Duration) -> Result<Flock<File>, SetupFailure> {
    let (begun, mut reported) = (Instant::now(), None);
    loop {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => folder = back,
            Err((_, errno)) => return Err(cannot_use(target, &errno.into())),
        }
        let (waited, target) = (begun.elapsed(), target.display());
        if waited >= timeout {
            let seconds = waited.as_secs();
            return Err(SetupFailure::new(format!(
                "cannot clone into {target}: another process has had the folder locked for {seconds} s; \
                 `fuser {target}` names it: end it, or name another repo.dir"
            )));
        }
        if reported.is_none_or(|last: Duration| waited.saturating_sub(last) >= LOCK_REPORT) {
            match reported {
                None => eprintln!("waiting for another clone into {target}"),
                Some(_) => eprintln!("still waiting for another clone into {target} ({} s)", waited.as_secs()),
            }
            reported = Some(waited);
        }
        thread::sleep(LOCK_RETRY.min(timeout));
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

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_sys::TemporaryFolder;

    #[test]
    fn lock_of_another_process_is_waited_for_up_to_a_limit() {
        let folder = TemporaryFolder::new("clone-lock").unwrap();
        let target = folder.join("job");
        let (held, created) = lock(&target, Duration::ZERO).unwrap();
        assert!(created);
        let error = lock(&target, Duration::ZERO).unwrap_err().error;
        assert!(error.contains("locked") && error.contains("repo.dir"), "{error}");
        let waits = thread::spawn({
            let target = target.clone();
            move || lock(&target, Duration::from_mins(1)).is_ok()
        });
        drop(held);
        assert!(waits.join().unwrap(), "it is locked when the other one has unlocked it");
    }
}
