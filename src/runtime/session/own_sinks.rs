//! A session's own sinks: those of its request, or what was put in their place since.

use std::sync::{Arc, Mutex, PoisonError};

use promptd_model::SinkRequest;

/// The sinks; another `Arc` whenever they have changed.
#[derive(Debug)]
pub(crate) struct OwnSinks(Mutex<Arc<Vec<SinkRequest>>>);

impl OwnSinks {
    pub(crate) fn new(sinks: Vec<SinkRequest>) -> Self {
        Self(Mutex::new(Arc::new(sinks)))
    }

    pub(crate) fn get(&self) -> Arc<Vec<SinkRequest>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces them with what `change` makes of them, if anything; `write` puts it on the disk first. False where they
    /// stay as they are. Neither function may use these sinks.
    pub(crate) fn update<E>(
        &self,
        change: impl FnOnce(&[SinkRequest]) -> Result<Option<Vec<SinkRequest>>, E>,
        write: impl FnOnce(&[SinkRequest]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut sinks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(new) = change(&sinks)? else {
            return Ok(false);
        };
        write(&new)?;
        *sinks = Arc::new(new);
        Ok(true)
    }
}
