//! A child whose output is read as it comes, and which is ended when it takes too long.

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

use super::ArtifactError;

/// How long we wait for the child, in all; what the reader takes for itself is not counted.
const PATIENCE: Duration = Duration::from_secs(60);

/// A grandchild may hold the pipe though the child has gone: so it is looked at now and then.
const LOOK: Duration = Duration::from_millis(50);

const BLOCK: usize = 64 << 10;

/// How much of what it complains is repeated.
const LAST_WORDS: u64 = 4 << 10;

/// Runs a command to its end; `take` gets its standard output.
pub(super) fn run(
    mut command: Command,
    take: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>,
) -> Result<(), ArtifactError> {
    let failed = |error: std::io::Error| ArtifactError::Git(format!("it cannot be started: {error}"));
    let complaints =
        File::from(memfd_create(c"promptd-git", MFdFlags::MFD_CLOEXEC).map_err(|errno| failed(errno.into()))?);
    let stderr = complaints.try_clone().map_err(failed)?;
    command.stdout(Stdio::piped()).stderr(stderr).process_group(0);
    let child = command.spawn().map_err(failed)?;
    let mut running = Running(child);
    let ended = running.read(take)?;
    if ended {
        return Ok(());
    }
    Err(ArtifactError::Git(last_line(complaints)))
}

/// A child that does not outlive us, nor do those that it has started.
struct Running(Child);

impl Running {
    fn read(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>) -> Result<bool, ArtifactError> {
        let mut pipe = self.0.stdout.take();
        let mut block = vec![0; BLOCK];
        let mut waited = Duration::ZERO;
        loop {
            let begun = Instant::now();
            let ready = if let Some(pipe) = &pipe {
                let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
                poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout).unwrap_or(0) > 0
            } else {
                std::thread::sleep(LOOK / 25);
                false
            };
            waited += begun.elapsed();
            if waited > PATIENCE {
                return Err(ArtifactError::Slow(PATIENCE.as_secs()));
            }
            if ready && let Some(open) = &mut pipe {
                match open.read(&mut block) {
                    Ok(0) | Err(_) => pipe = None,
                    Ok(read) => take(block.get(..read).unwrap_or_default())?,
                }
            } else if let Ok(Some(status)) = self.0.try_wait() {
                return Ok(status.success());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its group is its own until it is reaped; one that has ended well was reaped already, and has left nobody.
        if let (Ok(None), Ok(group)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
            let _reaped = self.0.wait();
        }
    }
}

fn last_line(mut complaints: File) -> String {
    let mut text = Vec::new();
    let read = complaints
        .rewind()
        .and_then(|()| complaints.take(LAST_WORDS).read_to_end(&mut text));
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
        let mut said = Vec::new();
        let result = run(command, &mut |bytes| {
            said.extend_from_slice(bytes);
            Ok(())
        });
        (result, said)
    }

    #[test]
    fn all_that_is_said_comes_though_a_grandchild_keeps_the_pipe() {
        let begun = Instant::now();
        let (result, said) = shell("head -c 300000 /dev/zero; setsid sleep 5 & exit 0");
        assert!(result.is_ok() && said.len() == 300_000);
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_failure_is_told_in_the_last_words() {
        let (result, _) = shell("echo first >&2; echo 'fatal: no' >&2; exit 3");
        assert_eq!(
            result.unwrap_err().to_string(),
            "git cannot tell what has changed: fatal: no"
        );
    }

    #[test]
    fn a_reader_that_goes_ends_the_child() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "yes"]).stdin(Stdio::null());
        let result = run(command, &mut |_| Err(ArtifactError::ReaderGone));
        assert!(matches!(result, Err(ArtifactError::ReaderGone)));
    }
}
