//! File locks (`flock`) that are waited for only for a while: any process of this user can hold one for ever.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::process::{ProcessIdentity, identity};

/// The first wait for a lock; doubled each time. A writer of ours holds one for less than a millisecond.
const FIRST_WAIT: Duration = Duration::from_micros(50);

/// The longest wait between two tries: no other holder may come in between for ever.
const MAX_WAIT: Duration = Duration::from_millis(5);

/// Locks a file, and waits for other holders for at most `timeout`. Blocks the thread meanwhile.
///
/// # Errors
/// The file, and `WouldBlock` where another process has kept the lock.
pub fn lock_file(mut file: File, timeout: Duration) -> Result<Flock<File>, (File, io::Error)> {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if begun.elapsed() < timeout => file = back,
            Err((back, errno)) => return Err((back, errno.into())),
        }
        std::thread::sleep(wait);
        wait = wait.saturating_mul(2).min(MAX_WAIT);
    }
}

/// The processes that hold the lock of a file, as far as this user may look into them.
pub fn lock_holders(path: &Path) -> Vec<ProcessIdentity> {
    let Ok(locked) = fs::symlink_metadata(path) else {
        return Vec::new();
    };
    let file = (locked.dev(), locked.ino());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| holds_lock(*pid, file)).filter_map(identity).collect()
}

fn holds_lock(pid: i32, file: (u64, u64)) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .any(|fd| {
            let opened = fs::metadata(format!("/proc/{pid}/fd/{fd}"));
            opened.is_ok_and(|opened| (opened.dev(), opened.ino()) == file)
                && fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).is_ok_and(|info| {
                    info.lines()
                        .any(|line| line.starts_with("lock:") && line.contains("FLOCK"))
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TemporaryFolder;

    #[test]
    fn another_holder_is_waited_for_for_a_while_and_found() {
        let folder = TemporaryFolder::new("lock").unwrap();
        let path = folder.join("file");
        let open = || File::options().append(true).create(true).open(&path).unwrap();
        let first = lock_file(open(), Duration::ZERO).unwrap();
        let holders = lock_holders(&path);
        assert!(
            holders
                .iter()
                .any(|holder| u32::try_from(holder.pid) == Ok(std::process::id()))
        );
        let (file, error) = lock_file(open(), Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let waiting = std::thread::spawn(move || lock_file(file, Duration::from_secs(60)).is_ok());
        drop(first);
        assert!(waiting.join().unwrap());
        assert!(lock_holders(&path).is_empty());
    }
}
