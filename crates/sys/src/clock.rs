//! The three clocks whose differences show that the machine was paused.
//!
//! ```text
//!                  pause of a virtual machine   suspend of a real one   clock set   SIGSTOP of a process
//! wall             set after the pause          advances                jumps       advances
//! since boot       stops                        advances                -           advances
//! running          stops                        stops                   -           advances
//! ```
//!
//! A hypervisor whose clocks all advance during a pause looks like SIGSTOP: only a late timer shows the pause.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The clocks, read at the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Since 1970; it can be set.
    pub wall: Duration,
    /// Since boot, including the time that the machine was suspended.
    pub boot: Duration,
    /// Since an unspecified time, without the time that the machine was suspended.
    pub running: Duration,
}

impl Clocks {
    /// Reads them.
    pub fn now() -> Self {
        Self {
            wall: read(ClockId::CLOCK_REALTIME).saturating_add(test_offset()),
            boot: read(ClockId::CLOCK_BOOTTIME),
            running: read(ClockId::CLOCK_MONOTONIC),
        }
    }
}

fn read(clock: ClockId) -> Duration {
    // This cannot fail: these clocks always exist.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// A step of the wall clock, in seconds, that a test has written to a file: setting the real clock would affect all other
/// processes. Only in builds with debug assertions; release builds do not have it.
/// knows nothing of it.
#[cfg(debug_assertions)]
fn test_offset() -> Duration {
    static FILE: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("PROMPTD_TEST_CLOCK")).as_ref();
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    let seconds = text.and_then(|text| text.trim().parse().ok());
    seconds.map_or(Duration::ZERO, |seconds| {
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    })
}

#[cfg(not(debug_assertions))]
const fn test_offset() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_advance_together() {
        let before = Clocks::now();
        std::thread::sleep(Duration::from_millis(20));
        let after = Clocks::now();
        assert!(after.running.saturating_sub(before.running) >= Duration::from_millis(20));
        assert!(after.boot.saturating_sub(before.boot) >= Duration::from_millis(20));
    }
}
