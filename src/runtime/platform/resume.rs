//! Noticing that the machine was away, within a second, and what is to be done then.
//!
//! While nothing is under way nothing wakes but a clock that is set. While something is (a turn, a delivery), the clocks
//! are looked at each second. Whoever needs the epoch in between looks for itself (see `epoch`), so that no answer
//! carries an old one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::platform::epoch::Break;
use crate::runtime::platform::identity::{self, Sandbox};
use crate::runtime::{Runtime, Session};
use promptd_model::Body;
use promptd_sys::ClockSet;

/// How often the clocks are looked at while something is under way.
const TICK: Duration = Duration::from_secs(1);

/// How often it is asked, where nobody answers, whether a clock that was set means another sandbox.
const TRIES: u32 = 5;

/// Watches until the runtime is gone, and keeps it no longer than it looks.
pub(crate) async fn watch(runtime: Weak<Runtime>) {
    let mut clock = ClockSet::watch()
        .inspect_err(|error| tracing::warn!(%error, "the clock cannot be watched; a resume is noticed when something is under way"))
        .ok();
    while let Some(here) = runtime.upgrade() {
        let (mut breaks, stirs) = (here.breaks(), Arc::clone(&here.stirs));
        let tick = here.is_under_way().then_some(TICK);
        let mut found = here.epoch.check(tick);
        drop(here);
        let mut was_set = false;
        if found.is_none() {
            tokio::select! {
                () = is_set(clock.as_mut()) => was_set = true,
                () = tokio::time::sleep(TICK), if tick.is_some() => {}
                () = stirs.notified(), if tick.is_none() => {}
                // Somebody has found out when it needed the epoch; or the runtime is gone.
                _ = breaks.changed() => {}
            }
            let Some(here) = runtime.upgrade() else { return };
            found = here.epoch.check(None);
        }
        let Some(here) = runtime.upgrade() else { return };
        match found {
            Some(Break::Resumed { away, previous }) => drop(tokio::spawn(here.has_resumed(away, previous))),
            Some(Break::Jumped) => {
                tracing::info!("the clock was set forward, or nothing ran for a while; connections are renewed");
                here.delivery.reconnect();
            }
            // Clocks are set right after a resume, by however little.
            None if was_set => drop(tokio::spawn(asks_who_it_is(Arc::downgrade(&here)))),
            None => {}
        }
    }
}

/// Asks until there is an answer, and not for ever: a witness may be late, right after a resume.
async fn asks_who_it_is(runtime: Weak<Runtime>) {
    for _ in 0..TRIES {
        let Some(here) = runtime.upgrade() else { return };
        if here.looks_who_it_is(None).await {
            return;
        }
        drop(here);
        tokio::time::sleep(TICK).await;
    }
}

async fn is_set(clock: Option<&mut ClockSet>) {
    match clock {
        Some(clock) => clock.changed().await,
        None => std::future::pending().await,
    }
}

impl Runtime {
    /// Changes when connections from before are likely dead: the machine has come back, or its clock has jumped.
    pub fn breaks(&self) -> watch::Receiver<u64> {
        self.epoch.breaks()
    }

    /// Whether anything goes on by itself.
    fn is_under_way(&self) -> bool {
        let goes_on = |session: &Arc<Session>| {
            let duties = session.duties();
            let agents = duties.driven || !duties.tenders.is_empty();
            drop(duties);
            agents || session.sink_workers.is_busy()
        };
        self.any_session(goes_on)
    }

    async fn has_resumed(self: Arc<Self>, away: Duration, previous: Option<String>) {
        tracing::info!(away = away.as_secs_f64(), "the machine was away");
        self.delivery.reconnect();
        for session in self.sessions() {
            // A session that nobody works for needs no word.
            if session.state().current().is_none() {
                continue;
            }
            let epoch = self.epoch();
            let sandbox = self.sandbox().await.map(|sandbox| sandbox.id);
            let resumed = Body::Resumed {
                epoch,
                previous: previous.clone(),
                away: away.as_secs_f64(),
                sandbox,
            };
            let told = session.transact(move |_, state| match state.current() {
                Some(turn) => (vec![(turn.turn, resumed)], ()),
                None => (Vec::new(), ()),
            });
            if let Err(error) = told.await {
                tracing::error!(session = %session.id(), %error, "a session cannot be told that the machine was away");
            }
        }
    }

    /// Somebody needs us: who we are is found out, and it is noticed when that has changed. Answers when the epoch is
    /// the right one.
    pub async fn is_needed(self: &Arc<Self>, host: Option<&str>) {
        if !self.is_in_a_sandbox() {
            return;
        }
        let number = self.epoch.number();
        if let Some(before) = host.and_then(|host| self.identity.hears(host, number)) {
            self.looks_who_it_is(Some(before)).await;
        }
    }

    /// Begins another epoch if the platform says that this is another sandbox than it has said, or than was heard. False
    /// where nobody answers.
    async fn looks_who_it_is(&self, heard: Option<String>) -> bool {
        let number = self.epoch.number();
        let platform = &self.settings().platform;
        let changed = self.identity.has_changed(platform, number, heard).await;
        if changed == Some(true) {
            self.epoch.is_another(number);
        }
        changed.is_some()
    }

    /// Whether anything says that this is a sandbox of the platform.
    pub fn is_in_a_sandbox(&self) -> bool {
        identity::is_sandbox(&self.settings().platform)
    }

    /// Which sandbox this is, if it is one and anybody knows. The first to need it in an epoch has to wait for an answer.
    pub async fn sandbox(&self) -> Option<Sandbox> {
        let number = self.epoch.number();
        self.identity.get(&self.settings().platform, number).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::config;

    #[tokio::test]
    async fn whoever_only_waits_keeps_no_runtime_alive() {
        let home = std::env::temp_dir().join(format!("promptd-watched-runtime-{}", std::process::id()));
        let flags = config::Flags {
            home: Some(home.clone()),
            workspace: Some(home.clone()),
            ..config::Flags::default()
        };
        let settings = config::settings(flags, &config::Environment::new(), None).unwrap();
        let runtime = Runtime::start(settings).await.unwrap();
        let alone = async {
            while Arc::strong_count(&runtime) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), alone).await.unwrap();
        let gone = Arc::downgrade(&runtime);
        drop(runtime);
        assert!(gone.upgrade().is_none());
        std::fs::remove_dir_all(home).unwrap();
    }
}
