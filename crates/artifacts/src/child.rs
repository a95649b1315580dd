//! Runs a child with streamed output and a timeout.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::ArtifactError;

/// Maximum time to wait for the child in total, without the time that the reader of its output needs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often the child is checked: a grandchild may keep the pipe open after the child's exit.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

const BLOCK: usize = 64 << 10;

/// Maximum bytes of stderr that are searched for the error message.
const MAX_STDERR: u64 = 4 << 10;

/// Runs a command to its end, and passes its standard output to `write`.
pub(super) fn run(
    mut command: Command,
    write: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>,
) -> Result<(), ArtifactError> {
    let failed = |error: std::io::Error| ArtifactError::Git(format!("it cannot be started: {error}"));
    let stderr_file =
        File::from(memfd_create(c"promptd-git", MFdFlags::MFD_CLOEXEC).map_err(|errno| failed(errno.into()))?);
    let stderr = stderr_file.try_clone().map_err(failed)?;
    command.stdout(Stdio::piped()).stderr(stderr).process_group(0);
    let child = command.spawn().map_err(failed)?;
    promptd_sys::restore_file_limit(child.id());
    let mut running = Running(child);
    let ended = running.read(write)?;
    if ended {
        return Ok(());
    }
    Err(ArtifactError::Git(last_line(stderr_file)))
}

/// A child whose process group is killed when this is dropped.
struct Running(Child);

impl Running {
    fn read(&mut self, write: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>) -> Result<bool, ArtifactError> {
        let mut pipe = self.0.stdout.take();
        let mut block = vec![0; BLOCK];
        let mut waited = Duration::ZERO;
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
            if ready && let Some(open) = &mut pipe {
                match open.read(&mut block) {
                    Ok(0) | Err(_) => pipe = None,
                    Ok(read) => write(block.get(..read).unwrap_or_default())?,
                }
            } else if let Ok(Some(status)) = self.0.try_wait() {
                return Ok(status.success());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group's number is not reused until the child is reaped. A child that was reaped needs no signal.
        if let (Ok(None), Ok(group)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
            let _reaped = self.0.wait();
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
        let result = run(command, &mut |bytes| {
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
    fn error_has_the_last_line_of_stderr() {
        let (result, _) = shell("echo first >&2; echo 'fatal: no' >&2; exit 3");
        assert_eq!(
            result.unwrap_err().to_string(),
            "git cannot tell what has changed: fatal: no"
        );
    }

    #[test]
    fn child_is_killed_if_the_reader_fails() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "yes"]).stdin(Stdio::null());
        let result = run(command, &mut |_| Err(ArtifactError::ReaderGone));
        assert!(matches!(result, Err(ArtifactError::ReaderGone)));
    }
}
