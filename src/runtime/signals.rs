//! Signals from one part of the runtime to another: the server shuts down, there is work, a session came to rest.

use tokio::sync::{Notify, watch};

/// Whether the server shuts down.
#[derive(Debug)]
pub(crate) struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Becomes true when the shutdown begins.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

/// What the sessions do, for the tasks that sleep while nothing happens. Each signal has one listener.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    started: Notify,
    at_rest: Notify,
    low_disk_space: Notify,
    busy: Notify,
}

impl Activity {
    /// A turn or a delivery goes on by itself from now on.
    pub(crate) fn notify_started(&self) {
        self.started.notify_one();
        self.busy.notify_one();
    }

    pub(crate) async fn started(&self) {
        self.started.notified().await;
    }

    /// A session has come to rest.
    pub(crate) fn notify_at_rest(&self) {
        self.at_rest.notify_one();
    }

    pub(crate) async fn at_rest(&self) {
        self.at_rest.notified().await;
    }

    /// A turn or a delivery has begun, perhaps since some time: for what is to be watched only then.
    pub(crate) async fn busy(&self) {
        self.busy.notified().await;
    }

    /// Work was refused because there is too little disk space.
    pub(crate) fn notify_low_disk_space(&self) {
        self.low_disk_space.notify_one();
    }

    pub(crate) async fn low_disk_space(&self) {
        self.low_disk_space.notified().await;
    }
}
