//! Whether the machine was away since its clocks were last read. What follows from it, `epoch` decides.

use std::time::Duration;

use promptd_sys::Clocks;

/// A clock that is ahead by more than this was not just corrected: NTP steps by less once it is in step, and slews all
/// clocks alike. A step back is always a correction.
pub(crate) const STEP: Duration = Duration::from_secs(2);

/// A check that is due each second is later than this: the machine was away and its clocks went on, or the whole process
/// was frozen. No busy machine keeps a process waiting for so long.
const LATE: Duration = Duration::from_secs(10);

/// The clocks, when they were last read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastCheck {
    pub(crate) clocks: Clocks,
    /// When the next check is due, by the clock that runs.
    pub(crate) next_check: Option<Duration>,
}

/// A time in which nothing ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// How long nothing ran.
    pub(crate) away: Duration,
    /// The machine was suspended for certain.
    pub(crate) suspended: bool,
}

impl LastCheck {
    /// The gap between then and now, if there is one.
    pub(crate) fn gap(&self, now: Clocks) -> Option<Gap> {
        let ran = now.running.saturating_sub(self.clocks.running);
        let beyond = |then: Duration, now: Duration| now.saturating_sub(then).saturating_sub(ran);
        let (stepped, suspended) = (beyond(self.clocks.wall, now.wall), beyond(self.clocks.boot, now.boot));
        let late = self
            .next_check
            .map_or(Duration::ZERO, |due| now.running.saturating_sub(due));
        let stood = Some(stepped.max(suspended)).filter(|it| *it > STEP);
        let late = Some(late).filter(|it| *it > LATE);
        (stood.is_some() || late.is_some()).then(|| Gap {
            away: stood.unwrap_or_default() + late.unwrap_or_default(),
            suspended: suspended > STEP,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(wall: f64, boot: f64, running: f64) -> Clocks {
        let [wall, boot, running] = [wall, boot, running].map(Duration::from_secs_f64);
        Clocks { wall, boot, running }
    }

    fn away(due: Option<f64>, now: Clocks) -> Option<f64> {
        let last = LastCheck {
            clocks: at(1_000.0, 100.0, 50.0),
            next_check: due.map(Duration::from_secs_f64),
        };
        last.gap(now).map(|gap| gap.away.as_secs_f64())
    }

    fn is_suspended(now: Clocks) -> Option<bool> {
        let clocks = at(1_000.0, 100.0, 50.0);
        LastCheck {
            clocks,
            next_check: None,
        }
        .gap(now)
        .map(|gap| gap.suspended)
    }

    #[test]
    fn paused_and_suspended_machines_were_away() {
        assert_eq!(
            away(None, at(4_601.0, 101.0, 51.0)),
            Some(3_600.0),
            "the wall clock was set"
        );
        assert_eq!(away(None, at(4_601.0, 3_701.0, 51.0)), Some(3_600.0), "suspended");
        assert_eq!(
            away(None, at(1_001.0, 3_701.0, 51.0)),
            Some(3_600.0),
            "suspended, wall clock not set yet"
        );
        assert_eq!(
            away(Some(51.0), at(1_900.0, 1_000.0, 950.0)),
            Some(899.0),
            "all clocks went on"
        );
        assert_eq!(
            away(Some(51.0), at(2_900.0, 1_000.0, 950.0)),
            Some(1_899.0),
            "some did, and more"
        );
    }

    #[test]
    fn a_corrected_clock_is_no_resume() {
        assert_eq!(away(None, at(1_001.9, 100.5, 50.5)), None, "a small step");
        assert_eq!(away(None, at(10.0, 100.5, 50.5)), None, "a step back");
        assert_eq!(away(None, at(9_000.0, 8_100.0, 8_050.0)), None, "no check for hours");
        assert_eq!(away(Some(51.0), at(1_009.0, 109.0, 59.0)), None, "a busy machine");
    }

    #[test]
    fn only_the_clock_since_boot_proves_a_suspend() {
        assert_eq!(
            is_suspended(at(4_601.0, 101.0, 51.0)),
            Some(false),
            "the wall clock was set"
        );
        assert_eq!(is_suspended(at(4_601.0, 3_701.0, 51.0)), Some(true), "suspended");
        assert_eq!(
            is_suspended(at(1_001.0, 3_701.0, 51.0)),
            Some(true),
            "and the wall clock not set yet"
        );
    }

    proptest! {
        #[test]
        fn clocks_that_agree_show_no_gap(ran in 0.0..1e9_f64, slew in -0.1..0.1_f64) {
            let ran = ran * (1.0 + slew);
            prop_assert_eq!(away(None, at(1_000.0 + ran, 100.0 + ran, 50.0 + ran)), None);
        }
    }
}
