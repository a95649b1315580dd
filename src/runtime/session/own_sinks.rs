//! A session's own sinks: those of its request, or what was put in their place since.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use promptd_model::SinkRequest;

/// The sinks; another `Arc` whenever they have changed.
#[derive(Debug)]
pub(crate) struct OwnSinks {
    sinks: Mutex<Arc<Vec<SinkRequest>>>,
    generation: AtomicU64,
}

impl OwnSinks {
    pub(crate) fn new(sinks: Vec<SinkRequest>) -> Self {
        Self {
            sinks: Mutex::new(Arc::new(sinks)),
            generation: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self) -> Arc<Vec<SinkRequest>> {
        Arc::clone(&self.sinks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number that changes with them.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Replaces them; the file of the session has these.
    pub(crate) fn set(&self, new: Vec<SinkRequest>) {
        *self.sinks.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.generation.fetch_add(1, Ordering::Release);
    }
}
