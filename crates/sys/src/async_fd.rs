//! Descriptors that tokio waits on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::inotify::Inotify;
use nix::sys::timerfd::TimerFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::process::PidFd;

/// A descriptor registered with tokio.
pub type Registered<T> = AsyncFd<Owner<T>>;

/// Owns a value, and always returns the same descriptor of it.
#[derive(Debug)]
pub struct Owner<T>(T);

impl<T> std::ops::Deref for Owner<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: AsFd> AsRawFd for Owner<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Waits on an inotify instance.
pub fn register_inotify(inotify: Inotify) -> io::Result<Registered<Inotify>> {
    // SAFETY: the value owns its descriptor, keeps it open while it lives, and always returns the same one.
    unsafe { AsyncFd::register(Owner(inotify)) }.map_err(Into::into)
}

/// Waits for the end of a process.
pub fn register_pidfd(pidfd: PidFd) -> io::Result<Registered<PidFd>> {
    // SAFETY: the value owns its descriptor, keeps it open while it lives, and always returns the same one.
    unsafe { AsyncFd::register(Owner(pidfd)) }.map_err(Into::into)
}

/// Waits for input on standard input, which stays open as long as the process.
pub fn register_stdin() -> io::Result<Registered<io::Stdin>> {
    // SAFETY: standard input is never closed, and its descriptor is always the same.
    unsafe { AsyncFd::register_with_interest(Owner(io::stdin()), Interest::READABLE) }.map_err(Into::into)
}

/// Waits for a timer.
pub(super) fn register_timer(timer: TimerFd) -> io::Result<Registered<TimerFd>> {
    // SAFETY: the value owns its descriptor, keeps it open while it lives, and always returns the same one.
    unsafe { AsyncFd::register(Owner(timer)) }.map_err(Into::into)
}
