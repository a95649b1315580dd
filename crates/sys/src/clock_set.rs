//! Notification when the wall clock is set.

use std::io;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as Timer, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::async_fd::{Registered, register_timer};

/// Notifies when the wall clock is set; costs nothing until then.
#[derive(Debug)]
pub struct ClockSet(Registered<TimerFd>);

impl ClockSet {
    /// Starts watching. Needs a tokio runtime.
    pub fn watch() -> io::Result<Self> {
        let timer = TimerFd::new(
            Timer::CLOCK_REALTIME,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        // The timer never expires. A change of the clock cancels it, and that is the notification.
        let never = Expiration::OneShot(TimeSpec::new(i64::MAX, 0));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        timer.set(never, flags)?;
        register_timer(timer).map(Self)
    }

    /// Waits until the clock is set.
    pub async fn changed(&mut self) {
        while let Ok(mut ready) = self.0.readable().await {
            // The library handles ECANCELED like an expiration.
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
    use std::time::Duration;

    use super::*;
    use nix::errno::Errno;
    use nix::time::{ClockId, clock_gettime, clock_settime};

    /// Sets the clock to its current time, which changes it by some microseconds only.
    fn set_clock_to_now() -> nix::Result<()> {
        clock_settime(ClockId::CLOCK_REALTIME, clock_gettime(ClockId::CLOCK_REALTIME)?)
    }

    #[tokio::test]
    async fn each_change_of_the_clock_is_reported() {
        let mut clock = ClockSet::watch().unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), clock.changed()).await;
        assert!(quiet.is_err(), "the clock was not set");
        for _ in 0..3 {
            if set_clock_to_now() == Err(Errno::EPERM) {
                eprintln!("skipped: only root may set the clock");
                return;
            }
            let reported = tokio::time::timeout(Duration::from_secs(1), clock.changed()).await;
            assert!(reported.is_ok(), "not reported within a second");
        }
    }
}
