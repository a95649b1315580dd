//! What wakes a keeper: poll(2) over everything that can happen.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// How often the files are looked at when the user's inotify instances are used up.
const WITHOUT_INOTIFY: Duration = Duration::from_millis(20);

/// The sources of wake-ups that every keeper has.
#[derive(Debug)]
pub(super) struct Wakers {
    signals: SignalFd,
    inotify: Option<Inotify>,
}

impl Wakers {
    /// Blocks all signals (a keeper obeys only its socket) and listens for the end of children.
    pub(super) fn new() -> nix::Result<Self> {
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

    /// There is no inotify instance left, so that the files are looked at on a timer.
    pub(super) fn lacks_inotify(&self) -> bool {
        self.inotify.is_none()
    }

    /// Wakes when a file has grown.
    pub(super) fn add(&mut self, path: &Path) {
        if let Some(inotify) = &self.inotify
            && inotify.add_watch(path, AddWatchFlags::IN_MODIFY).is_err()
        {
            self.inotify = None;
        }
    }

    /// Waits until something happens or `until` has come; answers which of `others` are ready.
    pub(super) fn wait(&self, others: &[(BorrowedFd<'_>, PollFlags)], until: Option<Instant>) -> Vec<bool> {
        let until = match (until, self.lacks_inotify()) {
            (until, true) => Some(until.unwrap_or_else(far).min(Instant::now() + WITHOUT_INOTIFY)),
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
            // Rounded up: waking a moment early would mean to spin until it is time.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        // EINTR cannot be (signals are blocked) and would do no harm: the caller looks at everything anyway.
        let _woken = poll(&mut fds, timeout);
        self.forget_what_woke_us();
        fds.get(own..)
            .unwrap_or_default()
            .iter()
            .map(|fd| fd.any().unwrap_or(false))
            .collect()
    }

    /// The events only wake: what happened is read from the files and from `wait4`.
    fn forget_what_woke_us(&self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        if let Some(inotify) = &self.inotify {
            // What does not fit into one read wakes us again.
            let _events = inotify.read_events();
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_hours(1)
}
