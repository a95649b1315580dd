//! The epoch: an opaque name for this life of the machine, made when it is first needed, and anew after a resume.
//!
//! That the machine was away is told by the clocks, at the time of use and by `resume`, which looks when it need not be
//! asked: the wall clock went on while the machine did not, or nothing was done for so long that nothing can have run.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::sys::{self, Clocks};

/// The wall clock went this much further than the machine did: it was away. Less is a clock that is being corrected
/// (NTP steps by less once it is in step, and slews all clocks alike); so is any step back.
const STEP: Duration = Duration::from_secs(2);

/// What was to be done each second is this late: the machine was away and its clocks went on, or the whole process
/// was frozen. No busy machine keeps a process waiting for so long.
const LATE: Duration = Duration::from_secs(10);

/// The epoch.
#[derive(Debug)]
pub(super) struct Epoch {
    file: PathBuf,
    state: Mutex<State>,
    /// How often the machine came back while this server ran.
    resumes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Nothing is minted before it is needed: a sandbox's memory may be cloned before that.
    value: Option<String>,
    seen: Seen,
    /// How long the machine was away, since somebody last took note of it.
    away: Option<Duration>,
    /// When it came back, by the clock that runs.
    back: Option<Duration>,
}

/// The clocks, when they were last looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    clocks: Clocks,
    /// When they will be looked at again at the latest, by the clock that runs.
    due: Option<Duration>,
}

impl Seen {
    /// How long the machine was away since then, if it was.
    fn away(&self, now: Clocks) -> Option<Duration> {
        let ran = now.running.saturating_sub(self.clocks.running);
        let beyond = |then: Duration, now: Duration| now.saturating_sub(then).saturating_sub(ran);
        let stood = beyond(self.clocks.wall, now.wall).max(beyond(self.clocks.boot, now.boot));
        let late = self.due.map_or(Duration::ZERO, |due| now.running.saturating_sub(due));
        let (stood, late) = (Some(stood).filter(|it| *it > STEP), Some(late).filter(|it| *it > LATE));
        (stood.is_some() || late.is_some()).then(|| stood.unwrap_or_default() + late.unwrap_or_default())
    }
}

/// What `$PROMPTD_HOME/epoch.json` holds, so that a restart of the server is no new epoch.
#[derive(Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    /// Device and inode of the home: a copy of it is another one's.
    home: String,
    /// By how much the wall clock is ahead of the one since boot, in seconds: more, and the machine was away.
    booted: f64,
    epoch: String,
}

impl Epoch {
    pub(super) fn of(home: &Path) -> Self {
        let seen = Seen {
            clocks: Clocks::now(),
            due: None,
        };
        Self {
            file: home.join("epoch.json"),
            state: Mutex::new(State {
                value: None,
                seen,
                away: None,
                back: None,
            }),
            resumes: watch::Sender::new(0),
        }
    }

    /// The epoch; it is made where there is none.
    pub(super) fn get(&self) -> String {
        let mut state = self.look();
        state.value.get_or_insert_with(|| self.find_or_make()).clone()
    }

    /// The epoch, if anybody has needed one since the machine came up.
    pub(super) fn known(&self) -> Option<String> {
        self.look().value.clone()
    }

    /// Looks at the clocks, and promises to look again after `again` at the latest. How long the machine was away, if
    /// it was; told once.
    pub(super) fn check(&self, again: Option<Duration>) -> Option<Duration> {
        let mut state = self.look();
        state.seen.due = again.map(|again| state.seen.clocks.running.saturating_add(again));
        state.away.take()
    }

    /// The machine is another one than it was after so many resumes, whatever its clocks say.
    pub(super) fn is_another(&self, after: u64) {
        let mut state = self.look();
        if *self.resumes.borrow() == after {
            self.begin_anew(&mut state, Duration::ZERO);
        }
    }

    /// Whether the machine came back less than this ago.
    pub(super) fn is_back_since_less_than(&self, time: Duration) -> bool {
        let state = self.look();
        let running = state.seen.clocks.running;
        state.back.is_some_and(|back| running.saturating_sub(back) < time)
    }

    /// Changes when the machine has come back: how often it did.
    pub(super) fn resumes(&self) -> watch::Receiver<u64> {
        self.resumes.subscribe()
    }

    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let clocks = Clocks::now();
        let away = state.seen.away(clocks);
        state.seen.clocks = clocks;
        if let Some(away) = away {
            // Told once, and not again by whoever looks before the next promise.
            state.seen.due = None;
            self.begin_anew(&mut state, away);
        }
        state
    }

    fn begin_anew(&self, state: &mut State, away: Duration) {
        if state.value.take().is_some() {
            // A server that is started now must not find it, either. Where it stays, its clocks tell on it.
            let _gone = std::fs::remove_file(&self.file);
        }
        state.back = Some(state.seen.clocks.running);
        state.away = Some(state.away.unwrap_or_default() + away);
        self.resumes.send_modify(|resumes| *resumes = resumes.wrapping_add(1));
    }

    fn find_or_make(&self) -> String {
        let (boot_id, home) = (sys::boot_id().unwrap_or_default(), self.home());
        let clocks = Clocks::now();
        let booted = clocks.wall.as_secs_f64() - clocks.boot.as_secs_f64();
        let kept = std::fs::read(&self.file)
            .ok()
            .and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let holds =
            |kept: &Kept| kept.boot_id == boot_id && kept.home == home && booted - kept.booted <= STEP.as_secs_f64();
        if let Some(kept) = kept.filter(holds) {
            return kept.epoch;
        }
        // Without randomness the boot id must do: it is unique, too, only not to clones.
        let epoch = sys::random().map_or_else(
            |_| boot_id.clone(),
            |random: [u8; 8]| format!("{:016x}", u64::from_be_bytes(random)),
        );
        let kept = Kept {
            boot_id,
            home,
            booted,
            epoch,
        };
        let written = serde_json::to_vec(&kept)
            .map_err(std::io::Error::from)
            .and_then(|text| sys::replace(&self.file, &text));
        if let Err(error) = written {
            tracing::warn!(path = %self.file.display(), %error, "the epoch cannot be kept; a restart will look like a resume");
        }
        kept.epoch
    }

    fn home(&self) -> String {
        let folder = self.file.parent().and_then(|home| std::fs::metadata(home).ok());
        folder.map_or_else(String::new, |folder| format!("{}:{}", folder.dev(), folder.ino()))
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
        let seen = Seen {
            clocks: at(1_000.0, 100.0, 50.0),
            due: due.map(Duration::from_secs_f64),
        };
        seen.away(now).map(|away| away.as_secs_f64())
    }

    #[test]
    fn a_paused_virtual_machine_and_a_suspended_one_were_away() {
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
    fn a_clock_that_is_corrected_is_no_resume() {
        assert_eq!(away(None, at(1_001.9, 100.5, 50.5)), None, "a small step");
        assert_eq!(away(None, at(10.0, 100.5, 50.5)), None, "a step back");
        assert_eq!(
            away(None, at(9_000.0, 8_100.0, 8_050.0)),
            None,
            "nobody looked for hours"
        );
        assert_eq!(away(Some(51.0), at(1_009.0, 109.0, 59.0)), None, "a busy machine");
    }

    proptest! {
        #[test]
        fn while_the_clocks_go_together_nobody_was_away(ran in 0.0..1e9_f64, slew in -0.1..0.1_f64) {
            let ran = ran * (1.0 + slew);
            prop_assert_eq!(away(None, at(1_000.0 + ran, 100.0 + ran, 50.0 + ran)), None);
        }
    }

    fn home(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("promptd-epoch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn it_is_made_when_it_is_needed_and_outlives_the_server_only() {
        let folder = home("made");
        let epoch = Epoch::of(&folder);
        assert_eq!(epoch.known(), None);
        assert!(!folder.join("epoch.json").exists());
        let name = epoch.get();
        assert_eq!(epoch.known().as_ref(), Some(&name));
        assert_eq!(Epoch::of(&folder).get(), name, "another server, the same epoch");
        epoch.is_another(0);
        assert_eq!((epoch.known(), *epoch.resumes().borrow()), (None, 1));
        assert!(epoch.is_back_since_less_than(Duration::from_secs(60)));
        assert!(!epoch.is_back_since_less_than(Duration::ZERO));
        assert_eq!(epoch.check(None), Some(Duration::ZERO));
        assert_eq!(epoch.check(None), None, "told once");
        assert_ne!(epoch.get(), name);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_copy_of_a_home_and_a_machine_that_was_away_have_their_own() {
        let (one, other) = (home("one"), home("other"));
        let name = Epoch::of(&one).get();
        std::fs::copy(one.join("epoch.json"), other.join("epoch.json")).unwrap();
        assert_ne!(Epoch::of(&other).get(), name);
        let text = std::fs::read(one.join("epoch.json")).unwrap();
        let kept: Kept = serde_json::from_slice(&text).unwrap();
        let earlier = Kept {
            booted: kept.booted - 3_600.0,
            ..kept
        };
        std::fs::write(one.join("epoch.json"), serde_json::to_vec(&earlier).unwrap()).unwrap();
        assert_ne!(Epoch::of(&one).get(), name, "the server was not there to see it");
        for folder in [one, other] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}
