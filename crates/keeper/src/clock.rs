//! The keeper's own clock, which counts only while the machine runs.
//!
//! A pause of a virtual machine usually stops the kernel's clock, too; but a hypervisor may let it go on, and so do a
//! freezer and SIGSTOP. An agent that was not running has not used up its time: what it was not given does not count.
//! So timeouts can come late after a pause (by a second at most), and never early.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use promptd_sys as sys;

/// A keeper asks to be woken at the latest after this, and a round of work takes far less.
pub(super) const AT_LEAST_EACH: Duration = Duration::from_secs(1);

/// Waking this much later than asked means that nothing ran. A busy machine is late by less.
const LATE: Duration = Duration::from_secs(1);

/// How long the agent has been running.
///
/// A keeper's clock goes with it, and the next one has the kernel's only, which may have counted pauses. So by how much
/// the two differ is kept in a file of the turn, whenever it has grown.
#[derive(Clone, Debug)]
pub(super) struct Age {
    /// When its keeper began, by the running clock …
    begun: Instant,
    /// … and how old it was then, without what former keepers knew to be pauses.
    then: Duration,
    /// The pauses that the file tells of.
    paused: Duration,
    file: PathBuf,
}

impl Age {
    /// The age of an agent of which the kernel says now how old it is.
    pub(super) fn of(kernel: Duration, file: PathBuf, now: Instant) -> Self {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let paused = text
            .trim()
            .parse()
            .ok()
            .and_then(|it| Duration::try_from_secs_f64(it).ok());
        let paused = paused.unwrap_or_default();
        Self {
            begun: now,
            then: kernel.saturating_sub(paused),
            paused,
            file,
        }
    }

    /// Its age at a moment of the running clock.
    pub(super) fn at(&self, now: Instant) -> Duration {
        self.then.saturating_add(now.saturating_duration_since(self.begun))
    }

    /// Keeps for the keepers to come what the kernel's word has become too large by.
    pub(super) fn compare(&mut self, kernel: Duration, now: Instant) -> io::Result<()> {
        let paused = kernel.saturating_sub(self.at(now));
        if paused <= self.paused.saturating_add(LATE) {
            return Ok(());
        }
        // Once, also where it cannot be written: a full disk is no reason to try each second.
        self.paused = paused;
        sys::replace(&self.file, paused.as_secs_f64().to_string().as_bytes())
    }
}

/// The clock. Its instants are earlier than those of the standard clock by all the time that did not count.
#[derive(Debug)]
pub(super) struct RunningClock {
    uncounted: Duration,
    /// When it was last read.
    read: Instant,
    /// The last wait was late, too: one is a pause, several in a row are a keeper that gets too little time.
    late: bool,
}

impl RunningClock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            uncounted: Duration::ZERO,
            read: now,
            late: false,
        }
    }

    /// What it shows. Called after a round of work: a long one counts no more than [`AT_LEAST_EACH`], and at least that,
    /// so that whatever slows us down cannot keep a timeout away forever.
    pub(super) fn at(&mut self, real: Instant) -> Instant {
        let passed = real.saturating_duration_since(self.read);
        if passed > AT_LEAST_EACH + LATE {
            self.skip(passed.saturating_sub(AT_LEAST_EACH));
        }
        self.read = real;
        self.shown(real)
    }

    /// A wait is over that was to end at `until` by this clock, or sooner.
    pub(super) fn woke(&mut self, until: Option<Instant>, real: Instant) {
        let waited = real.saturating_duration_since(self.read);
        let asked = until.map(|until| until.saturating_duration_since(self.shown(self.read)));
        let late = asked.filter(|asked| waited > asked.saturating_add(LATE));
        if let Some(asked) = late {
            // Nobody knows how much of it was before the pause; none of it counts. But whatever slows us down cannot
            // keep a timeout away forever.
            let counted = if self.late { asked } else { Duration::ZERO };
            self.skip(waited.saturating_sub(counted));
        }
        self.late = late.is_some();
        self.read = real;
    }

    /// When a moment of this clock will come by the standard one, if there is no further pause.
    pub(super) fn real(&self, shown: Instant) -> Instant {
        shown.checked_add(self.uncounted).unwrap_or(shown)
    }

    fn shown(&self, real: Instant) -> Instant {
        real.checked_sub(self.uncounted).unwrap_or(real)
    }

    fn skip(&mut self, time: Duration) {
        self.uncounted = self.uncounted.saturating_add(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_next_keeper_knows_of_the_pauses_of_the_one_before() {
        let file = std::env::temp_dir().join(format!("promptd-paused-{}", std::process::id()));
        let begin = Instant::now();
        let mut first = Age::of(SECOND * 10, file.clone(), begin);
        first.compare(SECOND * 11, begin + SECOND).unwrap();
        assert!(!file.exists(), "they go together");
        // An hour that the running clock has not seen.
        first.compare(SECOND * 3_612, begin + SECOND * 2).unwrap();
        let mut second = Age::of(SECOND * 3_613, file.clone(), begin);
        assert_eq!(second.at(begin), SECOND * 13);
        second.compare(SECOND * 4_614, begin + SECOND).unwrap();
        let third = Age::of(SECOND * 4_615, file.clone(), begin);
        assert_eq!(third.at(begin + SECOND), SECOND * 16);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_pause_during_a_wait_does_not_count_and_a_wait_does() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        let shown = clock.at(begin);
        clock.woke(Some(shown + SECOND), begin + SECOND);
        assert_eq!(clock.at(begin + SECOND), shown + SECOND);
        // An hour in which it was to wake after a second.
        clock.woke(Some(shown + SECOND * 2), begin + SECOND * 3_601);
        let after = clock.at(begin + SECOND * 3_601);
        assert_eq!(after, shown + SECOND);
        assert_eq!(clock.real(after), begin + SECOND * 3_601);
        clock.woke(Some(after + SECOND), begin + SECOND * 3_602);
        assert_eq!(clock.at(begin + SECOND * 3_602), shown + SECOND * 2);
    }

    #[test]
    fn waits_that_are_late_again_and_again_keep_no_timeout_away() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        let mut real = begin;
        for _ in 0..11 {
            let shown = clock.at(real);
            real += SECOND * 3;
            clock.woke(Some(shown + SECOND), real);
        }
        assert_eq!(clock.at(real), begin + SECOND * 10);
    }

    #[test]
    fn a_pause_during_work_counts_for_a_second_and_slow_work_goes_on_counting() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        assert_eq!(clock.at(begin + SECOND * 100), begin + SECOND);
        assert_eq!(clock.at(begin + SECOND * 103), begin + SECOND * 2);
        assert_eq!(clock.at(begin + SECOND * 103 + SECOND / 2), begin + SECOND * 5 / 2);
    }

    #[test]
    fn whoever_waits_for_an_event_without_a_limit_has_not_been_away() {
        let begin = Instant::now();
        let mut clock = RunningClock::new(begin);
        clock.woke(None, begin + SECOND * 500);
        assert_eq!(clock.at(begin + SECOND * 500), begin + SECOND * 500);
    }

    proptest! {
        #[test]
        fn it_never_runs_ahead_and_never_back(steps in proptest::collection::vec((0_u64..5_000, 0_u64..5_000, any::<bool>()), 1..50)) {
            let begin = Instant::now();
            let (mut clock, mut real, mut last) = (RunningClock::new(begin), begin, begin);
            for (asked, passed, waits) in steps {
                let shown = clock.at(real);
                prop_assert!(shown <= real && shown >= last);
                last = shown;
                real += Duration::from_millis(passed);
                if waits {
                    clock.woke(Some(shown + Duration::from_millis(asked)), real);
                }
            }
        }
    }
}
