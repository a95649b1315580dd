//! A clock that only advances while the machine runs, and the age of the agent by that clock.
//!
//! A pause of a virtual machine usually stops the kernel's clock as well, but some hypervisors let it continue, and so do
//! a cgroup freezer and SIGSTOP. An agent that was not running has not used its time. So after a pause a timeout can be
//! late by at most a second, and never early.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use promptd_sys as sys;

/// Maximum time between two rounds of the keeper.
pub(crate) const MAX_ROUND: Duration = Duration::from_secs(1);

/// A wake-up that is this late means that the machine was paused. On a busy machine it is less late.
const PAUSE_THRESHOLD: Duration = Duration::from_secs(1);

/// How long the agent has been running, without pauses.
///
/// The next keeper only has the kernel's clock, which may include pauses. So the difference between both clocks is
/// stored in a file of the turn whenever it has grown.
#[derive(Clone, Debug)]
pub(crate) struct AgentAge {
    /// When this keeper started, by the running clock.
    keeper_start: Instant,
    /// The agent's age at that time, without known pauses.
    age_at_start: Duration,
    /// The pauses that are stored in the file.
    paused: Duration,
    file: PathBuf,
}

/// The largest file with a pause: one number.
const MAX_FILE: u64 = 1 << 10;

impl AgentAge {
    /// The age of an agent, from its age by the kernel's clock and the stored pauses.
    pub(crate) fn new(kernel: Duration, file: PathBuf, now: Instant) -> Self {
        let text = sys::read_own(&file, MAX_FILE).unwrap_or_default();
        let paused = String::from_utf8_lossy(&text)
            .trim()
            .parse()
            .ok()
            .and_then(|it| Duration::try_from_secs_f64(it).ok());
        let paused = paused.unwrap_or_default();
        Self {
            keeper_start: now,
            age_at_start: kernel.saturating_sub(paused),
            paused,
            file,
        }
    }

    /// The age at a time of the running clock.
    pub(crate) fn at(&self, now: Instant) -> Duration {
        self.age_at_start
            .saturating_add(now.saturating_duration_since(self.keeper_start))
    }

    /// Stores for later keepers by how much the kernel's clock is ahead, if that has grown.
    pub(crate) fn store_pause(&mut self, kernel: Duration, now: Instant) -> io::Result<()> {
        let paused = kernel.saturating_sub(self.at(now));
        if paused <= self.paused.saturating_add(PAUSE_THRESHOLD) {
            return Ok(());
        }
        // Set also if writing fails: on a full disk it would fail again every second.
        self.paused = paused;
        sys::replace_file(&self.file, paused.as_secs_f64().to_string().as_bytes())
    }
}

/// The clock. Its instants are earlier than those of the system clock by the length of all pauses.
#[derive(Debug)]
pub(crate) struct RunningClock {
    paused: Duration,
    /// When it was last read, by the system clock.
    last_read: Instant,
    /// The last wait was late, too. One late wait is a pause; several in a row mean that the machine is overloaded.
    was_late: bool,
}

impl RunningClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            paused: Duration::ZERO,
            last_read: now,
            was_late: false,
        }
    }

    /// Reads the clock after a round of work. A very long round counts as [`MAX_ROUND`]: not more, because it may contain
    /// a pause, and not less, so that an overloaded machine cannot delay a timeout forever.
    pub(crate) fn read(&mut self, system: Instant) -> Instant {
        let passed = system.saturating_duration_since(self.last_read);
        if passed > MAX_ROUND + PAUSE_THRESHOLD {
            self.skip(passed.saturating_sub(MAX_ROUND));
        }
        self.last_read = system;
        self.convert(system)
    }

    /// Records the end of a wait that should have ended at `until` by this clock, or earlier.
    pub(crate) fn end_wait(&mut self, until: Option<Instant>, system: Instant) {
        let waited = system.saturating_duration_since(self.last_read);
        let asked = until.map(|until| until.saturating_duration_since(self.convert(self.last_read)));
        let late = asked.filter(|asked| waited > asked.saturating_add(PAUSE_THRESHOLD));
        if let Some(asked) = late {
            // How much of the wait was before the pause is unknown, so none of it counts. But an overloaded machine must
            // not delay a timeout forever.
            let counted = if self.was_late { asked } else { Duration::ZERO };
            self.skip(waited.saturating_sub(counted));
        }
        self.was_late = late.is_some();
        self.last_read = system;
    }

    /// Converts a time of this clock to the system clock, assuming no further pause.
    pub(crate) fn to_system(&self, time: Instant) -> Instant {
        time.checked_add(self.paused).unwrap_or(time)
    }

    fn convert(&self, system: Instant) -> Instant {
        system.checked_sub(self.paused).unwrap_or(system)
    }

    fn skip(&mut self, time: Duration) {
        self.paused = self.paused.saturating_add(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_sys::TemporaryFolder;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn next_keeper_knows_earlier_pauses() {
        let folder = TemporaryFolder::new("paused").unwrap();
        let file = folder.join("paused");
        let begin = Instant::now();
        let mut first = AgentAge::new(SECOND * 10, file.clone(), begin);
        first.store_pause(SECOND * 11, begin + SECOND).unwrap();
        assert!(!file.exists(), "both clocks agree");
        // An hour that the running clock has not counted.
        first.store_pause(SECOND * 3_612, begin + SECOND * 2).unwrap();
        let mut second = AgentAge::new(SECOND * 3_613, file.clone(), begin);
        assert_eq!(second.at(begin), SECOND * 13);
        second.store_pause(SECOND * 4_614, begin + SECOND).unwrap();
        let third = AgentAge::new(SECOND * 4_615, file.clone(), begin);
        assert_eq!(third.at(begin + SECOND), SECOND * 16);
    }

    #[test]
    fn pause_during_a_wait_is_not_counted() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        let shown = clock.read(begin);
        clock.end_wait(Some(shown + SECOND), begin + SECOND);
        assert_eq!(clock.read(begin + SECOND), shown + SECOND);
        // The wait should have taken a second, and took an hour.
        clock.end_wait(Some(shown + SECOND * 2), begin + SECOND * 3_601);
        let after = clock.read(begin + SECOND * 3_601);
        assert_eq!(after, shown + SECOND);
        assert_eq!(clock.to_system(after), begin + SECOND * 3_601);
        clock.end_wait(Some(after + SECOND), begin + SECOND * 3_602);
        assert_eq!(clock.read(begin + SECOND * 3_602), shown + SECOND * 2);
    }

    #[test]
    fn repeated_late_waits_are_counted() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        let mut real = begin;
        for _ in 0..11 {
            let shown = clock.read(real);
            real += SECOND * 3;
            clock.end_wait(Some(shown + SECOND), real);
        }
        assert_eq!(clock.read(real), begin + SECOND * 10);
    }

    #[test]
    fn long_round_counts_as_one_second() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        assert_eq!(clock.read(begin + SECOND * 100), begin + SECOND);
        assert_eq!(clock.read(begin + SECOND * 103), begin + SECOND * 2);
        assert_eq!(clock.read(begin + SECOND * 103 + SECOND / 2), begin + SECOND * 5 / 2);
    }

    #[test]
    fn wait_without_limit_is_not_a_pause() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        clock.end_wait(None, begin + SECOND * 500);
        assert_eq!(clock.read(begin + SECOND * 500), begin + SECOND * 500);
    }

    proptest! {
        #[test]
        fn clock_is_monotonic_and_never_ahead(steps in proptest::collection::vec((0_u64..5_000, 0_u64..5_000, any::<bool>()), 1..50)) {
            let begin = Instant::now();
            let (mut clock, mut real, mut last) = (RunningClock::new(begin), begin, begin);
            for (asked, passed, waits) in steps {
                let shown = clock.read(real);
                prop_assert!(shown <= real && shown >= last);
                last = shown;
                real += Duration::from_millis(passed);
                if waits {
                    clock.end_wait(Some(shown + Duration::from_millis(asked)), real);
                }
            }
        }
    }
}
