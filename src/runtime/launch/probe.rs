//! Asking a program for its version. It may hang, or leave processes behind.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use promptd_sys::WaitedChild;

/// node needs up to a second on a busy machine; what takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(10);

/// The most of an answer that is shown.
const MAX_VERSION: usize = 80;

/// The versions of programs, asked once for each change of the program's file.
#[derive(Debug, Default)]
pub(crate) struct Versions(Mutex<BTreeMap<Program, Option<String>>>);

/// A program, and when its file was last changed.
type Program = (PathBuf, Option<SystemTime>);

impl Versions {
    /// The versions of `programs`, in order; `None` where a program does not say. Takes up to [`TIMEOUT`].
    pub(crate) fn of(&self, programs: &[Option<PathBuf>]) -> Vec<Option<String>> {
        std::thread::scope(|scope| {
            // All at once: one alone can take a second.
            let asked: Vec<_> = programs
                .iter()
                .map(|program| scope.spawn(|| self.ask(program.as_deref()?)))
                .collect();
            asked.into_iter().map(|answer| answer.join().ok().flatten()).collect()
        })
    }

    fn ask(&self, program: &Path) -> Option<String> {
        let changed = std::fs::metadata(program).and_then(|metadata| metadata.modified()).ok();
        let key = (program.to_owned(), changed);
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return known.clone();
        }
        let answer = version(program).ok();
        lock().insert(key, answer.clone());
        answer
    }
}

/// The first line of what `program --version` prints, or what went wrong, as a sentence without its subject.
pub fn version(program: &Path) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = WaitedChild::spawn(&mut command);
    let mut child = child.map_err(|error| format!("cannot be started: {error}"))?;
    promptd_sys::restore_file_limit(u32::try_from(child.pid()).unwrap_or(0));
    let ended = has_ended(&child);
    // Everything that it has started is ended with it. It is not reaped yet, so the group's id is still its own.
    let _gone = killpg(Pid::from_raw(child.pid()), Signal::SIGKILL);
    let _reaped = child.wait();
    let output = child.take_stdout().map(read_available).unwrap_or_default();
    // pi answers there.
    let errors = child.take_stderr().map(read_available).unwrap_or_default();
    if !ended {
        return Err(format!("has not ended after {} s", TIMEOUT.as_secs()));
    }
    let lines = output.lines().chain(errors.lines());
    let line = lines.map(str::trim).find(|line| !line.is_empty());
    let clean = line.map(|line| {
        line.chars()
            .filter(|char| !char.is_control())
            .take(MAX_VERSION)
            .collect()
    });
    clean.ok_or_else(|| "says nothing".to_owned())
}

/// Waits for the end of a child, and leaves it to be reaped.
fn has_ended(child: &WaitedChild) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < TIMEOUT {
        if child.has_exited() {
            return true;
        }
        std::thread::sleep(POLL);
    }
    false
}

/// Reads what the pipe holds and no more: a grandchild in another group may keep it open for ever.
fn read_available(mut pipe: impl Read + AsFd) -> String {
    if fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
        return String::new();
    }
    let mut bytes = Vec::new();
    // "Would block" is an end like any other; what came before it is kept.
    let _end = (&mut pipe).take(4_096).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn program(name: &str, script: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("promptd-probe-{name}-{}", std::process::id()));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_first_line_counts_though_a_grandchild_keeps_the_pipe() {
        let path = program("grandchild", "setsid sleep 2 &\nprintf '\\n1.2.3 (x)\\nmore\\n'");
        let begin = Instant::now();
        assert_eq!(version(&path), Ok("1.2.3 (x)".to_owned()));
        assert!(begin.elapsed() < Duration::from_secs(2));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_version_on_stderr_counts() {
        let path = program("stderr", "echo 0.73.1 >&2");
        assert_eq!(version(&path), Ok("0.73.1".to_owned()));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_silent_or_missing_program_is_a_problem() {
        let path = program("silent", "exit 3");
        assert_eq!(version(&path), Err("says nothing".to_owned()));
        std::fs::remove_file(&path).unwrap();
        assert!(version(&path).unwrap_err().starts_with("cannot be started"));
    }
}
