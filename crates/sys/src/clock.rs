//! The three clocks whose disagreement tells that the machine was away.
//!
//! ```text
//!                  pause of a virtual machine   suspend of a real one   clock set   SIGSTOP of a process
//! wall             set when it comes back       goes on                 jumps       goes on
//! since boot       stands still                 goes on                 -           goes on
//! running          stands still                 stands still            -           goes on
//! ```
//!
//! A hypervisor that lets all clocks go on during a pause looks like SIGSTOP: only that nothing was done tells it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_go_together_while_nobody_touches_them() {
        let before = Clocks::now();
        std::thread::sleep(Duration::from_millis(20));
        let after = Clocks::now();
        assert!(after.running.saturating_sub(before.running) >= Duration::from_millis(20));
        assert!(after.boot.saturating_sub(before.boot) >= Duration::from_millis(20));
    }
}
