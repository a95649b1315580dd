//! The three clocks whose disagreement tells that the machine was away, and being told when somebody sets one.
//!
//! ```text
//!                  pause of a virtual machine   suspend of a real one   clock set   SIGSTOP of a process
//! wall             set when it comes back       goes on                 jumps       goes on
//! since boot       stands still                 goes on                 -           goes on
//! running          stands still                 stands still            -           goes on
//! ```
//!
//! A hypervisor that lets all clocks go on during a pause looks like SIGSTOP: only that nothing was done tells it.

use std::io;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as Timer, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};

use super::async_fd::{Registered, register_timer};

/// The clocks, read at the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Since 1970; whoever may set it can set it.
    pub wall: Duration,
    /// Since boot, with the time that the machine was suspended.
    pub boot: Duration,
    /// Since some moment, without.
    pub running: Duration,
}

impl Clocks {
    /// Reads them.
    pub fn now() -> Self {
        Self {
            wall: read(ClockId::CLOCK_REALTIME).saturating_add(set_forward_by_a_test()),
            boot: read(ClockId::CLOCK_BOOTTIME),
            running: read(ClockId::CLOCK_MONOTONIC),
        }
    }
}

fn read(clock: ClockId) -> Duration {
    // It cannot fail: these clocks are always there.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// A step of the wall clock, in seconds, that a test has written into a file: setting the machine's own clock would
/// disturb everything else that runs on it. Only where the program was built with debug assertions; the shipped binary
/// knows nothing of it.
#[cfg(debug_assertions)]
fn set_forward_by_a_test() -> Duration {
    static FILE: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("PROMPTD_TEST_CLOCK")).as_ref();
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    let seconds = text.and_then(|text| text.trim().parse().ok());
    seconds.map_or(Duration::ZERO, |seconds| {
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    })
}

#[cfg(not(debug_assertions))]
const fn set_forward_by_a_test() -> Duration {
    Duration::ZERO
}

/// Tells when the wall clock is set, by whomever; costs nothing until then.
#[derive(Debug)]
pub struct ClockSet(Registered<TimerFd>);

impl ClockSet {
    /// Begins to watch; needs a tokio runtime.
    pub fn watch() -> io::Result<Self> {
        let timer = TimerFd::new(
            Timer::CLOCK_REALTIME,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        // It never expires: only its being cancelled is wanted, which is what a change of the clock does to it.
        let never = Expiration::OneShot(TimeSpec::new(i64::MAX, 0));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        timer.set(never, flags)?;
        register_timer(timer).map(Self)
    }

    /// Waits until the clock is set.
    pub async fn changed(&mut self) {
        while let Ok(mut ready) = self.0.readable().await {
            // The library reads ECANCELED as an expiration like any other.
            match ready.get_inner().wait() {
                Ok(()) => return,
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => {
                    tracing::warn!(%error, "the clock cannot be watched");
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::time::clock_settime;

    /// Sets the clock to what it is, which disturbs nobody by more than some microseconds.
    fn set_the_clock_to_what_it_is() -> nix::Result<()> {
        clock_settime(ClockId::CLOCK_REALTIME, clock_gettime(ClockId::CLOCK_REALTIME)?)
    }

    #[tokio::test]
    async fn whoever_sets_the_clock_is_noticed_each_time() {
        let mut clock = ClockSet::watch().unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), clock.changed()).await;
        assert!(quiet.is_err(), "nobody has set it");
        for _ in 0..3 {
            if set_the_clock_to_what_it_is() == Err(Errno::EPERM) {
                eprintln!("passed over: only root may set the clock");
                return;
            }
            let told = tokio::time::timeout(Duration::from_secs(1), clock.changed()).await;
            assert!(told.is_ok(), "not told within a second");
        }
    }

    #[test]
    fn the_clocks_go_together_while_nobody_touches_them() {
        let before = Clocks::now();
        std::thread::sleep(Duration::from_millis(20));
        let after = Clocks::now();
        assert!(after.running.saturating_sub(before.running) >= Duration::from_millis(20));
        assert!(after.boot.saturating_sub(before.boot) >= Duration::from_millis(20));
    }
}
