//! Translates consecutive batches into `view=updates` without reading a turn from its start each time.
//!
//! The cache keeps the translator before and after the last batch, for a retry and for the next batch. It only saves
//! work: without it the journal is read from an earlier record, and the result is the same.

use std::sync::{Mutex, PoisonError};

use crate::kinds::Line;
use promptd_agents::updates::{self, Translation};
use promptd_journal::ReadError;

/// Maximum size of a cached translator: between two attempts a sink should hold no records.
const MAX_CACHED: usize = 64 << 10;

/// The translators before and after the last batch.
#[derive(Debug, Default)]
pub(crate) struct TranslatorCache(Mutex<Vec<Translation>>);

impl TranslatorCache {
    /// Translates the records of a batch that starts at `first`. `read` makes a translator that has read all earlier
    /// records.
    pub(crate) fn translate(
        &self,
        first: u64,
        records: &[Line],
        read: impl FnOnce(u64) -> Result<Translation, ReadError>,
    ) -> Result<Vec<updates::Line>, ReadError> {
        let before = first.saturating_sub(1);
        // Only one attempt uses the cache. The translators are taken out, so a panic leaves none half done.
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let known = kept.into_iter().find(|kept| kept.seq() == before);
        let start = known.map_or_else(|| read(before), Ok)?;
        let mut translation = start.clone();
        let mut lines = Vec::new();
        for record in records {
            translation.push_line(&record.text, &mut lines);
        }
        let small = [start, translation]
            .into_iter()
            .filter(|kept| kept.buffered_bytes() <= MAX_CACHED);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = small.collect();
        Ok(lines)
    }

    /// Empties the cache.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
