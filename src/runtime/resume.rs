//! Noticing that the machine was away, within a second, and what is to be done then.
//!
//! While nothing is under way nothing wakes but a clock that is set. While something is (a turn, a delivery), the clocks
//! are looked at each second. Whoever needs the epoch in between looks for itself (see `epoch`), so that no answer
//! carries an old one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::identity::{self, Sandbox};
use super::{Runtime, Session};
use crate::model::Body;
use crate::sys::ClockSet;

/// How often the clocks are looked at while something is under way.
const TICK: Duration = Duration::from_secs(1);

/// Watches until the runtime is gone.
pub(super) async fn watch(runtime: Weak<Runtime>) {
    let mut clock = ClockSet::watch()
        .inspect_err(|error| tracing::warn!(%error, "the clock cannot be watched; a resume is noticed when something is under way"))
        .ok();
    while let Some(runtime) = runtime.upgrade() {
        let mut resumes = runtime.resumes();
        let tick = runtime.is_under_way().then_some(TICK);
        let mut was_set = false;
        let mut away = runtime.epoch.check(tick);
        if away.is_none() {
            tokio::select! {
                () = is_set(clock.as_mut()) => was_set = true,
                () = tokio::time::sleep(TICK), if tick.is_some() => {}
                () = runtime.stirs.notified(), if tick.is_none() => {}
                // Somebody has found out when it needed the epoch.
                _ = resumes.changed() => {}
            }
            away = runtime.epoch.check(None);
        }
        if let Some(away) = away {
            tokio::spawn(Arc::clone(&runtime).has_resumed(away));
        } else if was_set {
            // Clocks are set right after a resume, by however little.
            tokio::spawn(async move { runtime.is_the_same_sandbox().await });
        }
    }
}

async fn is_set(clock: Option<&mut ClockSet>) {
    match clock {
        Some(clock) => clock.changed().await,
        None => std::future::pending().await,
    }
}

impl Runtime {
    /// Changes when the machine has come back: connections from before are likely dead.
    pub fn resumes(&self) -> watch::Receiver<u64> {
        self.epoch.resumes()
    }

    /// Whether anything goes on by itself.
    fn is_under_way(&self) -> bool {
        let goes_on = |session: &Arc<Session>| {
            let duties = session.duties();
            let agents = duties.driven || !duties.tenders.is_empty();
            drop(duties);
            agents || session.lanes.is_busy()
        };
        self.any_session(goes_on)
    }

    async fn has_resumed(self: Arc<Self>, away: Duration) {
        tracing::info!(away = away.as_secs_f64(), "the machine was away");
        self.delivery.resumed();
        for session in self.sessions() {
            // A session that nobody works for needs no word.
            if session.state().current().is_none() {
                continue;
            }
            let epoch = self.epoch();
            let sandbox = self.sandbox().await.map(|sandbox| sandbox.id);
            let away = away.as_secs_f64();
            let told = session.transact(move |_, state| match state.current() {
                Some(turn) => (vec![(turn.turn, Body::Resumed { epoch, away, sandbox })], ()),
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
        let platform = &self.settings().platform;
        if !identity::is_there(platform) {
            return;
        }
        let number = *self.resumes().borrow();
        if host.is_some_and(|host| self.identity.hears(host, number)) {
            self.is_the_same_sandbox().await;
        }
    }

    /// Begins another epoch if the platform says that this is another sandbox.
    async fn is_the_same_sandbox(&self) {
        let number = *self.resumes().borrow();
        if self.identity.has_changed(&self.settings().platform, number).await {
            self.epoch.is_another(number);
        }
    }

    /// Which sandbox this is, if it is one and anybody knows. The first to need it in an epoch has to wait for an answer.
    pub async fn sandbox(&self) -> Option<Sandbox> {
        // Looks at the clocks, too.
        drop(self.epoch());
        let number = *self.resumes().borrow();
        self.identity.get(&self.settings().platform, number).await
    }
}
