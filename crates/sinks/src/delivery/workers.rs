//! The sinks of one session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::shared::Delivery;
use super::state::{SinkSlot, SinkState, SinkStatus};
use super::worker;
use crate::sink::Sink;
use crate::source::Source;

/// The sinks of one session.
#[derive(Debug, Default)]
pub struct SinkWorkers(Mutex<BTreeMap<String, Arc<SinkSlot>>>);

impl SinkWorkers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<SinkSlot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts workers for these sinks, and stops those of other sinks. `sinks` answers `None` if the session is gone. It
    /// is called under a lock, so that concurrent calls take effect in the order of their answers.
    ///
    /// Needs a tokio runtime, and reads a small file for each new sink.
    pub fn update(
        &self,
        delivery: &Arc<Delivery>,
        source: &Arc<dyn Source>,
        sinks: impl FnOnce() -> Option<Vec<Sink>>,
    ) {
        let mut slots = self.lock();
        let Some(sinks) = sinks() else { return };
        slots.retain(|file, slot| {
            let stays = sinks.iter().any(|sink| sink.file() == *file);
            if !stays {
                slot.close();
            }
            stays
        });
        for sink in sinks {
            let file = sink.file();
            if let Some(slot) = slots.get(&file) {
                slot.reconfigure(&delivery.limits, sink);
            } else {
                let slot = SinkSlot::open(&delivery.limits, source.folder(), sink);
                slots.insert(file.clone(), Arc::new(slot));
            }
            if let Some(slot) = slots.get(&file) {
                start(delivery, source, slot);
            }
        }
    }

    /// Waits until all backends that answer have everything up to `last`, at most for `timeout`.
    pub async fn wait_delivered(&self, last: u64, timeout: Duration) {
        let slots: Vec<_> = self.lock().values().cloned().collect();
        let delivered = async {
            for slot in slots {
                slot.wait_delivered(last, &[SinkState::Retrying, SinkState::Paused])
                    .await;
            }
        };
        let _late = tokio::time::timeout(timeout, delivered).await;
    }

    /// Whether a worker is running.
    pub fn is_busy(&self) -> bool {
        self.lock().values().any(|slot| slot.is_running())
    }

    /// Whether the session has no sinks.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Stops all workers, because the session is being deleted.
    pub fn close(&self) {
        for slot in std::mem::take(&mut *self.lock()).values() {
            slot.close();
        }
    }

    /// The status of each sink; `last_seq` is that of the session's journal.
    pub fn status(&self, last_seq: u64) -> Vec<SinkStatus> {
        self.lock().values().map(|slot| slot.status(last_seq)).collect()
    }

    /// The names of sinks whose backends do not have all records.
    pub fn undelivered(&self, last_seq: u64) -> Vec<String> {
        let all = self.status(last_seq).into_iter();
        all.filter(|status| status.lag_records > 0)
            .map(|status| status.name)
            .collect()
    }
}

/// Starts the worker of a sink, or wakes it.
fn start(delivery: &Arc<Delivery>, source: &Arc<dyn Source>, slot: &Arc<SinkSlot>) {
    let worker = worker::run(Arc::clone(delivery), Arc::clone(source), Arc::clone(slot));
    if slot.start(|| tokio::spawn(worker).abort_handle()) {
        delivery.add_running(source, slot);
    }
}
