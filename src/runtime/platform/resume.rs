//! Noticing within a second that the machine was away, and reporting it to the sessions.
//!
//! While nothing goes on, only a clock that is set wakes this task. While something does (a turn, a delivery), the
//! clocks are checked each second. Every use of the epoch checks them, too, so that no answer carries an old one.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::delivery::service::SinkDelivery;
use crate::runtime::platform::epoch::Break;
use crate::runtime::platform::machine::Machine;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::signals::Activity;
use promptd_model::Body;
use promptd_sys::ClockSet;

/// How often the clocks are checked while something goes on.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the platform is asked, where it does not answer, whether a clock that was set means another sandbox.
const TRIES: u32 = 5;

/// What notices that the machine was away.
#[derive(Debug)]
pub(crate) struct ResumeWatch {
    pub machine: Arc<Machine>,
    pub registry: Arc<SessionRegistry>,
    pub delivery: Arc<SinkDelivery>,
    pub activity: Arc<Activity>,
}

impl ResumeWatch {
    pub(crate) async fn run(self: Arc<Self>) {
        let mut clock = ClockSet::watch()
            .inspect_err(|error| {
                tracing::warn!(%error, "the clock cannot be watched; a resume is noticed when something goes on");
            })
            .ok();
        let mut breaks = self.machine.breaks();
        loop {
            let interval = self.is_anything_going_on().then_some(INTERVAL);
            let mut found = self.machine.check_clocks(interval);
            let mut was_set = false;
            if found.is_none() {
                tokio::select! {
                    () = clock_set(clock.as_mut()) => was_set = true,
                    () = tokio::time::sleep(INTERVAL), if interval.is_some() => {}
                    () = self.activity.started(), if interval.is_none() => {}
                    // A user of the epoch has noticed it first.
                    _ = breaks.changed() => {}
                }
                found = self.machine.check_clocks(None);
            }
            match found {
                Some(Break::Resumed { away, previous }) => {
                    drop(tokio::spawn(Arc::clone(&self).report_resume(away, previous)));
                }
                Some(Break::Jumped) => {
                    tracing::info!("the clock was set forward, or nothing ran for a while; connections are renewed");
                    self.delivery.reconnect();
                }
                // Clocks are set right after a resume, by however little.
                None if was_set => drop(tokio::spawn(check_identity(Arc::clone(&self.machine)))),
                None => {}
            }
        }
    }

    /// Whether a turn, its processes or a delivery go on by themselves.
    fn is_anything_going_on(&self) -> bool {
        let sessions = self.registry.all_with_new();
        sessions
            .iter()
            .any(|session| session.control.is_busy() || session.sink_workers.is_busy())
    }

    async fn report_resume(self: Arc<Self>, away: Duration, previous: Option<String>) {
        tracing::info!(away = away.as_secs_f64(), "the machine was away");
        self.delivery.reconnect();
        for session in self.registry.all() {
            // Only sessions with an open turn have a reader for it.
            if session.state().current().is_none() {
                continue;
            }
            let resumed = Body::Resumed {
                epoch: self.machine.epoch(),
                previous: previous.clone(),
                away: away.as_secs_f64(),
                sandbox: self.machine.sandbox().await.map(|sandbox| sandbox.id),
            };
            let written = session.transact(move |_, state| match state.current() {
                Some(turn) => (vec![(turn.turn, resumed)], ()),
                None => (Vec::new(), ()),
            });
            if let Err(error) = written.await {
                tracing::error!(session = %session.id(), %error, "a resume cannot be written to a session's journal");
            }
        }
    }
}

/// Asks the platform until it answers, and not for ever: right after a resume its services may be late.
async fn check_identity(machine: Arc<Machine>) {
    for _ in 0..TRIES {
        if machine.check_identity(None).await {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn clock_set(clock: Option<&mut ClockSet>) {
    match clock {
        Some(clock) => clock.changed().await,
        None => pending().await,
    }
}
