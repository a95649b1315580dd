//! Being told when somebody sets the wall clock.

use std::io;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as Timer, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::async_fd::{Registered, register_timer};

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
    use std::time::Duration;

    use super::*;
    use nix::errno::Errno;
    use nix::time::{ClockId, clock_gettime, clock_settime};

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
}
