//! The epoch: an opaque name for this life of the machine, made when it is first needed, and new after a resume.
//!
//! The clocks show a resume. They are checked whenever the epoch is used, and by `resume` in between. The rule:
//!
//! ```text
//!                                              on the platform   elsewhere
//! the clock since boot ran ahead of the one    new epoch         new epoch     only a suspended machine does that
//!   that stops while suspended
//! the wall clock was set forward               new epoch         jump          a resume sets it; so does NTP
//! a check is late                              new epoch         jump          a hypervisor's pause; or a frozen process
//! the platform gives another id                new epoch         -             a clone
//! another boot, or another home                new epoch         new epoch     a reboot, a copy
//! ```
//!
//! A resume of Firecracker shows as nothing but a wall clock that is set forward: the other clocks stand still
//! meanwhile, and a sandbox that was only paused keeps its id. Nothing else sets the clock there by so much, so it
//! counts. On any other machine it proves nothing: after a jump connections are renewed and sinks try at once, and the
//! epoch stays.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::runtime::platform::clock_gap::{LastCheck, STEP};
use crate::runtime::platform::sandbox_sources::is_sandbox;
use crate::runtime::settings::Platform;
use promptd_sys::{self as sys, Clocks};

/// The largest file of an epoch.
const MAX_FILE: u64 = 64 << 10;

/// The epoch.
#[derive(Debug)]
pub(crate) struct Epoch {
    file: PathBuf,
    platform: Platform,
    state: Mutex<State>,
    /// How often connections may have died while this server ran.
    breaks: watch::Sender<u64>,
}

/// What the clocks, or the platform, have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// The machine was away for so long. `previous` is the epoch before, where anybody had needed it.
    Resumed { away: Duration, previous: Option<String> },
    /// The clock was set forward, or this process was frozen: connections may be dead, nothing more.
    Jumped,
}

#[derive(Debug)]
struct State {
    /// Not made before it is needed: the sandbox's memory may be cloned before that.
    value: Option<String>,
    /// How many epochs there were before, while this server ran.
    number: u64,
    last: LastCheck,
    /// What no caller of [`Epoch::check`] has got yet.
    unreported: Option<Break>,
    /// When the last break was noticed, by the clock that runs.
    back: Option<Duration>,
}

/// What `$PROMPTD_HOME/epoch.json` holds, so that a restart of the server is no new epoch.
#[derive(Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    /// Device and inode of the home: a copy of a home is another one.
    home: String,
    /// By how much the wall clock is ahead of the one since boot, in seconds: more, and it was set forward.
    booted: f64,
    /// By how much the clock since boot is ahead of the one that runs, in seconds: more, and the machine was suspended.
    #[serde(default)]
    suspended: f64,
    epoch: String,
}

impl Break {
    /// Both as one.
    fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::Jumped, later) => later,
            (before, Self::Jumped) => before,
            (
                Self::Resumed { away, previous },
                Self::Resumed {
                    away: again,
                    previous: last,
                },
            ) => Self::Resumed {
                away: away.saturating_add(again),
                previous: previous.or(last),
            },
        }
    }
}

impl Epoch {
    pub(crate) fn new(home: &Path, platform: Platform) -> Self {
        let last = LastCheck {
            clocks: Clocks::now(),
            next_check: None,
        };
        Self {
            file: home.join("epoch.json"),
            platform,
            state: Mutex::new(State {
                value: None,
                number: 0,
                last,
                unreported: None,
                back: None,
            }),
            breaks: watch::Sender::new(0),
        }
    }

    /// The epoch; it is made where there is none.
    pub(crate) fn get(&self) -> String {
        let mut state = self.read_clocks();
        state.value.get_or_insert_with(|| self.find_or_make()).clone()
    }

    /// The epoch, if anybody has needed one since the machine came up.
    pub(crate) fn known(&self) -> Option<String> {
        self.read_clocks().value.clone()
    }

    /// How many epochs this server has seen end. Does not make an epoch.
    pub(crate) fn number(&self) -> u64 {
        self.read_clocks().number
    }

    /// Reads the clocks, and promises to do so again within `next`. Returns what has happened, once.
    pub(crate) fn check(&self, next: Option<Duration>) -> Option<Break> {
        let mut state = self.read_clocks();
        state.last.next_check = next.map(|next| state.last.clocks.running.saturating_add(next));
        state.unreported.take()
    }

    /// Ends the epoch of that number: the machine is another one, whatever its clocks say.
    pub(crate) fn end(&self, number: u64) {
        let mut state = self.read_clocks();
        if state.number == number {
            self.begin_new(&mut state, Duration::ZERO);
        }
    }

    /// Whether the machine came back, or its clock jumped, less than `time` ago.
    pub(crate) fn came_back_within(&self, time: Duration) -> bool {
        let state = self.read_clocks();
        let running = state.last.clocks.running;
        state.back.is_some_and(|back| running.saturating_sub(back) < time)
    }

    /// Changes when connections from before are likely dead.
    pub(crate) fn breaks(&self) -> watch::Receiver<u64> {
        self.breaks.subscribe()
    }

    fn read_clocks(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let clocks = Clocks::now();
        let gap = state.last.gap(clocks);
        state.last.clocks = clocks;
        if let Some(gap) = gap {
            // The late check is reported, and not again before the next promise.
            state.last.next_check = None;
            if gap.suspended || is_sandbox(&self.platform) {
                self.begin_new(&mut state, gap.away);
            } else {
                self.report(&mut state, Break::Jumped);
            }
        }
        state
    }

    fn begin_new(&self, state: &mut State, away: Duration) {
        // A server that starts now must not use it, either. If it cannot be removed, its clocks show that it is old.
        let _gone = std::fs::remove_file(&self.file);
        let previous = state.value.take();
        state.number = state.number.wrapping_add(1);
        self.report(state, Break::Resumed { away, previous });
    }

    fn report(&self, state: &mut State, new: Break) {
        state.back = Some(state.last.clocks.running);
        state.unreported = Some(match state.unreported.take() {
            Some(before) => before.and(new),
            None => new,
        });
        self.breaks.send_modify(|breaks| *breaks = breaks.wrapping_add(1));
    }

    fn find_or_make(&self) -> String {
        let (boot_id, home) = (sys::boot_id().unwrap_or_default(), self.home());
        let clocks = Clocks::now();
        let (boot, step) = (clocks.boot.as_secs_f64(), STEP.as_secs_f64());
        let booted = clocks.wall.as_secs_f64() - boot;
        let suspended = boot - clocks.running.as_secs_f64();
        let kept = sys::read_own(&self.file, MAX_FILE)
            .ok()
            .and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        // The same rule, for the time without a server.
        let holds = |kept: &Kept| {
            let is_set = booted - kept.booted > step && is_sandbox(&self.platform);
            kept.boot_id == boot_id && kept.home == home && suspended - kept.suspended <= step && !is_set
        };
        if let Some(kept) = kept.filter(holds) {
            return kept.epoch;
        }
        // Without randomness the boot id must do: it is unique, too, only not to clones.
        let epoch = sys::random_bytes().map_or_else(
            |_| boot_id.clone(),
            |random: [u8; 8]| format!("{:016x}", u64::from_be_bytes(random)),
        );
        let kept = Kept {
            boot_id,
            home,
            booted,
            suspended,
            epoch,
        };
        let written = serde_json::to_vec(&kept)
            .map_err(std::io::Error::from)
            .and_then(|text| sys::replace_file(&self.file, &text));
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

    #[test]
    fn unreported_breaks_add_up_and_a_jump_hides_no_resume() {
        let resumed = |seconds, previous: Option<&str>| Break::Resumed {
            away: Duration::from_secs(seconds),
            previous: previous.map(str::to_owned),
        };
        assert_eq!(Break::Jumped.and(resumed(1, None)), resumed(1, None));
        assert_eq!(resumed(1, Some("a")).and(Break::Jumped), resumed(1, Some("a")));
        assert_eq!(resumed(1, Some("a")).and(resumed(2, Some("b"))), resumed(3, Some("a")));
        assert_eq!(resumed(1, None).and(resumed(2, Some("b"))), resumed(3, Some("b")));
    }

    fn home(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("promptd-epoch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn epoch(home: &Path, on_the_platform: bool) -> Epoch {
        let platform = Platform {
            metadata: String::new(),
            events: String::new(),
            envd: String::new(),
            folder: "/nonexistent".into(),
            is_e2b: on_the_platform,
        };
        Epoch::new(home, platform)
    }

    #[test]
    fn an_epoch_is_made_when_needed_and_outlives_the_server() {
        let folder = home("made");
        let one = epoch(&folder, false);
        assert_eq!(one.known(), None);
        assert!(!folder.join("epoch.json").exists());
        let name = one.get();
        assert_eq!(one.known().as_ref(), Some(&name));
        assert_eq!(epoch(&folder, false).get(), name, "another server, the same epoch");
        one.end(0);
        assert_eq!((one.known(), one.number(), *one.breaks().borrow()), (None, 1, 1));
        one.end(0);
        assert_eq!(one.number(), 1, "that is known already");
        assert!(one.came_back_within(Duration::from_secs(60)));
        assert!(!one.came_back_within(Duration::ZERO));
        let (away, previous) = (Duration::ZERO, Some(name.clone()));
        assert_eq!(one.check(None), Some(Break::Resumed { away, previous }));
        assert_eq!(one.check(None), None, "reported once");
        assert_ne!(one.get(), name);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_resume_also_ends_an_epoch_that_only_the_file_knows() {
        let folder = home("file");
        let name = epoch(&folder, true).get();
        let restarted = epoch(&folder, true);
        restarted.end(0);
        assert_ne!(restarted.get(), name);
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Whether another server finds the epoch after its file was made to look older.
    fn is_found_after(change: impl FnOnce(&mut Kept), on_the_platform: bool) -> bool {
        let folder = home(&format!("older-{on_the_platform}"));
        let name = epoch(&folder, on_the_platform).get();
        let file = folder.join("epoch.json");
        let mut kept: Kept = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        change(&mut kept);
        std::fs::write(&file, serde_json::to_vec(&kept).unwrap()).unwrap();
        let found = epoch(&folder, on_the_platform).get() == name;
        std::fs::remove_dir_all(folder).unwrap();
        found
    }

    #[test]
    fn the_same_rule_holds_for_the_time_without_a_server() {
        for (on_the_platform, stays) in [(true, false), (false, true)] {
            assert_eq!(is_found_after(|kept| kept.booted -= 3_600.0, on_the_platform), stays);
            assert!(!is_found_after(|kept| kept.suspended -= 3_600.0, on_the_platform));
            assert!(!is_found_after(|kept| kept.boot_id.push('x'), on_the_platform));
        }
    }

    #[test]
    fn a_copied_home_gets_an_epoch_of_its_own() {
        let (one, other) = (home("one"), home("other"));
        let name = epoch(&one, false).get();
        std::fs::copy(one.join("epoch.json"), other.join("epoch.json")).unwrap();
        assert_ne!(epoch(&other, false).get(), name);
        for folder in [one, other] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}
