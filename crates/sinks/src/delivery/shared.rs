//! What all sinks of a server share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use super::counters::Counters;
use super::state::{SinkSlot, SinkState};
use crate::http::{Clients, ConnectionLimits};
use crate::source::Source;

/// What all sinks of a server share.
#[derive(Debug)]
pub struct Delivery {
    pub(super) limits: ConnectionLimits,
    pub(super) clients: Clients,
    pub(super) counters: Counters,
    /// Ends the wait before another attempt.
    pub(super) retry_now: watch::Sender<()>,
    /// Ends the wait for an answer, because its connection is dead.
    pub(super) disconnect: watch::Sender<()>,
    pub(super) shutdown: watch::Sender<bool>,
    /// The workers that are running.
    running: Mutex<Vec<RunningWorker>>,
}

/// A running worker: its session and its sink.
type RunningWorker = (Weak<dyn Source>, Weak<SinkSlot>);

impl Delivery {
    /// Delivery over at most this many connections.
    pub fn new(connections: usize) -> Self {
        Self {
            limits: ConnectionLimits::new(connections),
            clients: Clients::default(),
            counters: Counters::default(),
            retry_now: watch::Sender::new(()),
            disconnect: watch::Sender::new(()),
            shutdown: watch::Sender::new(false),
            running: Mutex::default(),
        }
    }

    /// Lets all waiting sinks try again now, because the configuration has changed.
    pub fn retry_now(&self) {
        self.retry_now.send_replace(());
    }

    /// Renews all connections after a pause of the machine: they are dead, and names and certificates may have changed.
    pub fn reconnect(&self) {
        self.clients.renew();
        self.disconnect.send_replace(());
        self.retry_now();
    }

    /// What has been delivered.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Shuts down: no longer waits for more records in a batch, and returns when all existing records are delivered or
    /// refused.
    pub async fn flush(&self) {
        self.shutdown.send_replace(true);
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for (source, slot) in running {
            if let (Some(source), Some(slot)) = (source.upgrade(), slot.upgrade()) {
                let last = source.changes().borrow().last_seq;
                slot.wait_delivered(last, &[SinkState::Paused]).await;
            }
        }
    }

    /// Remembers a running worker for [`Delivery::flush`].
    pub(super) fn add_running(&self, source: &Arc<dyn Source>, slot: &Arc<SinkSlot>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Cleaned up only when the list would grow, because thousands of workers may start at once.
        if running.len() == running.capacity() {
            running.retain(|(_, slot)| slot.upgrade().is_some_and(|slot| slot.is_running()));
        }
        running.push((Arc::downgrade(source), Arc::downgrade(slot)));
    }
}
