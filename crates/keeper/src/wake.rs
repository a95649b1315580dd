//! Waiting for events: poll(2) over signals, inotify and sockets.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// How often the files are checked if the user has no inotify instance left.
const WITHOUT_INOTIFY: Duration = Duration::from_millis(20);

/// The event sources that every keeper has.
#[derive(Debug)]
pub(crate) struct WakeSources {
    signals: SignalFd,
    inotify: Option<Inotify>,
}

impl WakeSources {
    /// Blocks all signals (a keeper is only controlled by its socket) and listens for the end of children.
    pub(crate) fn new() -> nix::Result<Self> {
        let mut blocked = SigSet::all();
        for fault in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGABRT,
            Signal::SIGTRAP,
        ] {
            blocked.remove(fault);
        }
        blocked.thread_block()?;
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        Ok(Self { signals, inotify })
    }

    /// Whether there was no inotify instance left, so the files are checked on a timer.
    pub(crate) fn lacks_inotify(&self) -> bool {
        self.inotify.is_none()
    }

    /// Watches a file for growth.
    pub(crate) fn watch(&mut self, path: &Path) {
        if let Some(inotify) = &self.inotify
            && inotify.add_watch(path, AddWatchFlags::IN_MODIFY).is_err()
        {
            self.inotify = None;
        }
    }

    /// Waits for an event or until `until`; answers which of `others` are ready.
    pub(crate) fn wait(&self, others: &[(BorrowedFd<'_>, PollFlags)], until: Option<Instant>) -> Vec<bool> {
        let until = match (until, self.lacks_inotify()) {
            (until, true) => Some(until.unwrap_or_else(far_future).min(Instant::now() + WITHOUT_INOTIFY)),
            (until, false) => until,
        };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.inotify
                .as_ref()
                .map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN)),
        );
        let own = fds.len();
        fds.extend(others.iter().map(|(fd, flags)| PollFd::new(*fd, *flags)));
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            // Rounded up: an early wake-up would cause a busy loop until the time has come.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        // EINTR cannot happen (signals are blocked) and would be harmless: the caller checks everything anyway.
        let _ready = poll(&mut fds, timeout);
        self.drain_events();
        fds.get(own..)
            .unwrap_or_default()
            .iter()
            .map(|fd| fd.any().unwrap_or(false))
            .collect()
    }

    /// Discards the events: what happened is read from the files and with `wait4`.
    fn drain_events(&self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        if let Some(inotify) = &self.inotify {
            // Events that do not fit into one read wake the keeper again.
            let _events = inotify.read_events();
        }
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_hours(1)
}
