//! The keeper's children: setup between fork and exec, and waiting with resource usage.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// The OOM score adjustment of an agent (-1000 to 1000): it is killed before other processes when memory runs out.
const AGENT_OOM_SCORE: &[u8] = b"500";

/// The setup of a child process.
#[derive(Debug)]
pub struct ChildSetup {
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
}

/// Starts `command` in its own session and process group, with an empty signal mask and nothing but
/// descriptors 0, 1 and 2.
///
/// This forks, so only a small process may call it: the keeper, never the server.
pub fn spawn(mut command: Command, setup: ChildSetup) -> io::Result<Child> {
    let [stdin, stdout, stderr] = setup.stdio;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    // SAFETY: the closure runs between fork and exec in a process with one thread, and makes only system
    // calls that are async-signal-safe; it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl)?;
            // The keeper's files in /proc belong to root, because it is private, and so do its child's until exec.
            super::private::set_dumpable(true);
            let fd = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if fd >= 0 {
                // Only a preference: if the kernel refuses it, the agent runs all the same.
                let _written = libc::write(fd, AGENT_OOM_SCORE.as_ptr().cast(), AGENT_OOM_SCORE.len());
                libc::close(fd);
            }
            // All other descriptors are closed at exec; the child keeps 0, 1 and 2.
            if libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}

/// Makes this process a keeper: private, with its own session, the parent of orphans among its descendants, and without
/// descriptors other than 0, 1 and 2.
pub fn prepare_keeper() -> io::Result<()> {
    super::private::make_private();
    // SAFETY: integers only; this process has just started and has not opened descriptors above 2.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    match nix::unistd::setsid() {
        // EPERM: the process is a group leader already, because a shell started it.
        Ok(_) | Err(nix::errno::Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets the name that `ps` and `top` show, which would be `exe` for a process started as `/proc/self/exe`.
pub fn name_this_process(name: &std::ffi::CStr) {
    // SAFETY: PR_SET_NAME reads a NUL-terminated string, which a CStr is.
    let _set = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Ignores signals from now on.
pub fn ignore_signals(signals: &[Signal]) {
    for signal in signals {
        // SAFETY: no handler of ours runs. The two signals that cannot be ignored are refused.
        let _refused = unsafe { nix::sys::signal::signal(*signal, nix::sys::signal::SigHandler::SigIgn) };
    }
}

/// A child that has exited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChildExit {
    /// Its pid.
    pub pid: i32,
    /// Its exit code, or the signal that killed it.
    pub status: Result<i32, i32>,
    /// User and system time of it and of its waited-for children, in seconds.
    pub cpu_seconds: f64,
    /// The largest resident set among them, in bytes.
    pub max_rss_bytes: u64,
}

/// The result of [`wait_any`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WaitResult {
    /// A child has exited.
    Exited(ChildExit),
    /// There are children, and none has exited.
    NoneExited,
    /// There are no children.
    NoChildren,
}

/// Reaps a child of this process that has exited, without waiting.
///
/// Only for the keeper: in a process with other waiters it would reap their children.
pub fn wait_any() -> io::Result<WaitResult> {
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that live through the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match pid {
        0 => Ok(WaitResult::NoneExited),
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(WaitResult::NoChildren),
            error => Err(error),
        },
        pid => Ok(WaitResult::Exited(ChildExit {
            pid,
            status: if libc::WIFSIGNALED(status) {
                Err(libc::WTERMSIG(status))
            } else {
                Ok(libc::WEXITSTATUS(status))
            },
            cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        })),
    }
}

fn seconds(time: libc::timeval) -> f64 {
    let whole = u32::try_from(time.tv_sec).unwrap_or(u32::MAX);
    let micros = u32::try_from(time.tv_usec).unwrap_or(0);
    f64::from(whole) + f64::from(micros) / 1e6
}
