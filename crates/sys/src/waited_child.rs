//! Children that somebody waits for, and reaping those that nobody does.
//!
//! As the first process of a container, or as a subreaper, a process becomes the parent of others' orphans. Each stays a
//! zombie until it is reaped. `wait` for any child would reap our own children, too, and steal their exit status. So all
//! children that are waited for are started here, and are known.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::prctl::get_child_subreaper;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::process::parse_stat;

/// Children that somebody waits for. Locked while one is started or reaped, so that its id is not another process's.
static WAITED_FOR: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn waited_for() -> MutexGuard<'static, BTreeSet<i32>> {
    WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child whose exit status is kept for whoever waits for it. When this is dropped, nobody waits for it any more.
#[derive(Debug)]
pub struct WaitedChild {
    child: Child,
    is_reaped: bool,
}

impl WaitedChild {
    /// Starts a child.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut waited_for = waited_for();
        let child = Self {
            child: command.spawn()?,
            is_reaped: false,
        };
        waited_for.insert(child.pid());
        Ok(child)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Its standard output, if that is a pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, if that is a pipe.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Whether it has exited. It is not reaped, so its id stays its own.
    pub fn has_exited(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        !matches!(
            waitid(Id::Pid(Pid::from_raw(self.pid())), flags),
            Ok(WaitStatus::StillAlive)
        )
    }

    /// Reaps it if it has exited.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let mut waited_for = waited_for();
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.is_reaped |= waited_for.remove(&self.pid());
        }
        Ok(status)
    }

    /// Waits for its exit, and reaps it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        // Without the lock: this can take long.
        while waitid(Id::Pid(Pid::from_raw(self.pid())), flags) == Err(Errno::EINTR) {}
        let mut waited_for = waited_for();
        let status = self.child.wait()?;
        self.is_reaped |= waited_for.remove(&self.pid());
        Ok(status)
    }
}

impl Drop for WaitedChild {
    fn drop(&mut self) {
        // Once it is reaped, its id may be that of another child.
        if !self.is_reaped {
            waited_for().remove(&self.pid());
        }
    }
}

/// Whether orphans of other processes become children of this one.
pub fn adopts_orphans() -> bool {
    std::process::id() == 1 || get_child_subreaper().unwrap_or(false)
}

/// Reaps children that have exited and that nobody waits for; answers how many.
pub fn reap_orphans() -> usize {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_zombie = |pid: &i32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok();
        let stat = stat.and_then(|line| parse_stat(&line));
        stat.is_some_and(|stat| stat.parent == own && stat.state == b'Z')
    };
    pids.filter(is_zombie).filter(|pid| reap_orphan(*pid)).count()
}

fn reap_orphan(pid: i32) -> bool {
    let waited_for = waited_for();
    !waited_for.contains(&pid)
        && !matches!(
            waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::StillAlive) | Err(_)
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    fn until(what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn exists(pid: i32) -> bool {
        fs::exists(format!("/proc/{pid}")).unwrap()
    }

    #[test]
    fn orphans_are_reaped_and_own_children_keep_their_status() {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        assert!(adopts_orphans());
        let mut own = WaitedChild::spawn(Command::new("/bin/sh").args(["-c", "exit 7"])).unwrap();
        until("its exit", || own.has_exited());
        let mut parent = Command::new("/bin/sh");
        parent
            .args(["-c", "sleep 0.01 >/dev/null & echo $!"])
            .stdout(Stdio::piped());
        let mut parent = WaitedChild::spawn(&mut parent).unwrap();
        let mut orphan = String::new();
        parent.take_stdout().unwrap().read_to_string(&mut orphan).unwrap();
        assert!(parent.wait().unwrap().success());
        let orphan: i32 = orphan.trim().parse().unwrap();
        until("the orphan is reaped", || {
            reap_orphans();
            !exists(orphan)
        });
        assert!(exists(own.pid()), "it waits for us");
        assert_eq!(own.wait().unwrap().code(), Some(7));
        let forgotten = WaitedChild::spawn(Command::new("/bin/sh").args(["-c", "exit 0"])).unwrap();
        let pid = forgotten.pid();
        drop(forgotten);
        until("nobody waits for it any more", || {
            reap_orphans();
            !exists(pid)
        });
    }
}
