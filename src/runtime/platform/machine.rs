//! The machine that the server runs on: its epoch, and which sandbox it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::platform::epoch::{Break, Epoch};
use crate::runtime::platform::identity::Identity;
use crate::runtime::platform::sandbox_sources::{Sandbox, is_sandbox};
use crate::runtime::settings::SettingsStore;

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Arc<SettingsStore>,
    epoch: Epoch,
    identity: Identity,
}

impl Machine {
    pub(crate) fn new(settings: Arc<SettingsStore>) -> Self {
        let current = settings.get();
        Self {
            epoch: Epoch::new(&current.home, current.platform.clone()),
            identity: Identity::default(),
            settings,
        }
    }

    /// The epoch; made where there is none.
    pub(crate) fn epoch(&self) -> String {
        self.epoch.get()
    }

    /// The epoch, where it has been needed before.
    pub(crate) fn known_epoch(&self) -> Option<String> {
        self.epoch.known()
    }

    /// How many epochs this server has seen end.
    pub(crate) fn epoch_number(&self) -> u64 {
        self.epoch.number()
    }

    /// Changes when connections from before are likely dead: the machine has come back, or its clock has jumped.
    pub(crate) fn breaks(&self) -> watch::Receiver<u64> {
        self.epoch.breaks()
    }

    /// Reads the clocks; see [`Epoch::check`].
    pub(crate) fn check_clocks(&self, next: Option<Duration>) -> Option<Break> {
        self.epoch.check(next)
    }

    /// Whether the machine came back less than `time` ago.
    pub(crate) fn came_back_within(&self, time: Duration) -> bool {
        self.epoch.came_back_within(time)
    }

    /// Whether anything says that this is a sandbox of the platform.
    pub(crate) fn is_in_a_sandbox(&self) -> bool {
        is_sandbox(&self.settings.get().platform)
    }

    /// Which sandbox this is, if it is one and anything names it. The first caller in an epoch waits for an answer.
    pub(crate) async fn sandbox(&self) -> Option<Sandbox> {
        let number = self.epoch.number();
        self.identity.get(&self.settings.get().platform, number).await
    }

    /// Takes note of a request's `Host`. When this returns, the epoch is the right one.
    pub(crate) async fn note_host(&self, host: Option<&str>) {
        if !self.is_in_a_sandbox() {
            return;
        }
        let number = self.epoch.number();
        if let Some(before) = host.and_then(|host| self.identity.note_host(host, number)) {
            self.check_identity(Some(before)).await;
        }
    }

    /// Begins another epoch if the platform says that this is another sandbox than before, or than `expected`. False
    /// where nobody answers.
    pub(crate) async fn check_identity(&self, expected: Option<String>) -> bool {
        let number = self.epoch.number();
        let platform = &self.settings.get().platform;
        let changed = self.identity.has_changed(platform, number, expected).await;
        if changed == Some(true) {
            self.epoch.end(number);
        }
        changed.is_some()
    }
}
