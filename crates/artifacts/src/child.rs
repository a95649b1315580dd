//! Runs a child with streamed output and a timeout.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::ArtifactError;
use promptd_sys::{self as sys, GroupActivity, Marker, TreeQuery, WaitedChild};

/// Maximum time to wait for the child in total, without the time that the reader of its output needs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A child that does nothing for so long waits for something that does not come, such as a writer of a FIFO.
const STALL_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// How often it is checked whether it does anything.
const STALL_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 1000 });

/// How often the child is checked: a grandchild may keep the pipe open after the child's exit.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How often a tree is killed again: a process may have been started while the others were killed.
const KILL_ROUNDS: u32 = 20;

const BLOCK: usize = 64 << 10;

/// Maximum bytes of stderr that are searched for the error message.
const MAX_STDERR: u64 = 4 << 10;

/// Marks the child and all that it starts, with a value that nobody else has.
const MARKER: &str = "PROMPTD_ARTIFACTS";

/// Runs a command to its end, and passes its standard output to `write`. If that fails, it is killed with all that it has
/// started; `marker` is how that is found.
pub(super) fn run(
    mut command: Command,
    marker: &str,
    write: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>,
) -> Result<(), ArtifactError> {
    let failed = ArtifactError::NotStarted;
    let stderr_file =
        File::from(memfd_create(c"promptd-git", MFdFlags::MFD_CLOEXEC).map_err(|errno| failed(errno.into()))?);
    let stderr = stderr_file.try_clone().map_err(failed)?;
    command.stdout(Stdio::piped()).stderr(stderr).process_group(0);
    command.env(MARKER, marker);
    let child = WaitedChild::spawn(&mut command).map_err(failed)?;
    sys::restore_file_limit(u32::try_from(child.pid()).unwrap_or(0));
    let mut running = Running {
        child,
        marker: marker.to_owned(),
    };
    let ended = running.read(write)?;
    if ended {
        return Ok(());
    }
    Err(ArtifactError::Git(last_line(stderr_file)))
}

/// Kills what children with this marker have started and left.
pub(super) fn end_leftovers(marker: &str) {
    end_tree(&[], marker);
}

fn end_tree(roots: &[i32], marker: &str) {
    let marker = format!("{MARKER}={marker}");
    for _ in 0..KILL_ROUNDS {
        let tree = sys::find_tree(TreeQuery {
            roots,
            leader: None,
            marker: Marker::Is(&marker),
            outputs: &[],
        });
        if tree.is_empty() {
            return;
        }
        // Stopped first, so that no process can fork while the others are killed.
        sys::signal_all(&tree, Signal::SIGSTOP);
        sys::signal_all(&tree, Signal::SIGKILL);
    }
}

/// A child that is killed with its whole tree when this is dropped.
struct Running {
    child: WaitedChild,
    marker: String,
}

impl Running {
    fn read(&mut self, write: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>) -> Result<bool, ArtifactError> {
        let mut pipe = self.child.take_stdout();
        let mut block = vec![0; BLOCK];
        let mut waited = Duration::ZERO;
        let mut stall = Stall::new(self.child.pid());
        loop {
            let begun = Instant::now();
            let ready = if let Some(pipe) = &pipe {
                let timeout = PollTimeout::try_from(CHECK_INTERVAL).unwrap_or(PollTimeout::ZERO);
                poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout).unwrap_or(0) > 0
            } else {
                std::thread::sleep(CHECK_INTERVAL / 25);
                false
            };
            waited += begun.elapsed();
            if waited > TIMEOUT {
                return Err(ArtifactError::Slow(TIMEOUT.as_secs()));
            }
            if ready {
                stall = Stall::new(self.child.pid());
            } else if stall.is_over() {
                return Err(ArtifactError::Stalled);
            }
            if ready && let Some(open) = &mut pipe {
                match open.read(&mut block) {
                    Ok(0) | Err(_) => pipe = None,
                    Ok(read) => write(block.get(..read).unwrap_or_default())?,
                }
            } else if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status.success());
            }
        }
    }
}

/// Notices that a child does nothing.
struct Stall {
    group: i32,
    activity: GroupActivity,
    /// Since when it has done nothing, and when that was looked at last.
    since: Instant,
    looked: Instant,
}

impl Stall {
    fn new(group: i32) -> Self {
        let now = Instant::now();
        Self {
            group,
            activity: GroupActivity::default(),
            since: now,
            looked: now,
        }
    }

    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.looked) < STALL_INTERVAL {
            return false;
        }
        self.looked = now;
        let activity = sys::group_activity(self.group);
        if activity.is_busy || std::mem::replace(&mut self.activity, activity) != activity {
            self.since = now;
        }
        now.duration_since(self.since) > STALL_TIMEOUT
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group's number is not reused until the child is reaped. A child that was reaped needs no signal.
        if let Ok(None) = self.child.try_wait() {
            end_tree(&[self.child.pid()], &self.marker);
            let _gone = killpg(Pid::from_raw(self.child.pid()), Signal::SIGKILL);
            let _reaped = self.child.wait();
        }
    }
}

fn last_line(mut stderr_file: File) -> String {
    let mut text = Vec::new();
    let read = stderr_file
        .rewind()
        .and_then(|()| stderr_file.take(MAX_STDERR).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let line = line.filter(|_| read.is_ok()).unwrap_or("it does not say why");
    line.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Result<(), ArtifactError>, Vec<u8>) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        let mut output = Vec::new();
        // Its own: another test kills what has its marker.
        let marker = format!("{:?}", std::thread::current().id());
        let result = run(command, &marker, &mut |bytes| {
            output.extend_from_slice(bytes);
            Ok(())
        });
        (result, output)
    }

    #[test]
    fn output_is_complete_if_a_grandchild_keeps_the_pipe() {
        let begun = Instant::now();
        let (result, output) = shell("head -c 300000 /dev/zero; setsid sleep 5 & exit 0");
        assert!(result.is_ok() && output.len() == 300_000);
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn child_that_waits_for_nothing_is_given_up_soon() {
        let (result, _) = shell("echo begun; sleep 600");
        assert!(matches!(result, Err(ArtifactError::Stalled)), "{result:?}");
        // One that works without output is not.
        let work = "end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do :; done; echo done";
        let (result, output) = shell(work);
        assert!(result.is_ok() && output == b"done\n", "{result:?}");
    }

    #[test]
    fn error_has_the_last_line_of_stderr() {
        let (result, _) = shell("echo first >&2; echo 'fatal: no' >&2; exit 3");
        assert_eq!(
            result.unwrap_err().to_string(),
            "git cannot tell what has changed: fatal: no"
        );
    }

    #[test]
    fn whole_tree_is_killed_if_the_reader_fails() {
        let folder = promptd_sys::TemporaryFolder::new("artifacts-tree").unwrap();
        let mut command = Command::new("/bin/sh");
        let script = format!(
            "setsid sh -c 'echo $$ > {}/pid; exec sleep 60' & until test -s {0}/pid; do :; done; yes",
            folder.display()
        );
        command.args(["-c", &script]).stdin(Stdio::null());
        let result = run(command, "a-tree", &mut |_| Err(ArtifactError::ReaderGone));
        assert!(matches!(result, Err(ArtifactError::ReaderGone)));
        let pid: i32 = std::fs::read_to_string(folder.join("pid"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let begun = Instant::now();
        while sys::identity(pid).is_some() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{pid} lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn child_is_killed_if_the_reader_fails() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "yes"]).stdin(Stdio::null());
        let result = run(command, "a-test", &mut |_| Err(ArtifactError::ReaderGone));
        assert!(matches!(result, Err(ArtifactError::ReaderGone)));
    }
}
