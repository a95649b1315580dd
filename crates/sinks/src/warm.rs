//! The lines of `view=updates` for batches that follow each other, without reading a turn from its beginning each time.
//!
//! What is kept is what the translation leaves open before a batch and behind it, so that a retry and the next batch
//! begin where they have to. It only saves work: whoever has nothing kept reads from where nothing is open, and gets
//! the same lines.

use std::sync::{Mutex, PoisonError};

use super::kinds::Line;
use promptd_agents::updates::{self, Translation};
use promptd_journal::ReadError;

/// More than this is not kept between two attempts: a sink holds no records then.
const KEPT: usize = 64 << 10;

/// Where the last batch began, and where it ended.
#[derive(Debug, Default)]
pub(super) struct Warm(Mutex<Vec<Translation>>);

impl Warm {
    /// The lines that come from a batch's records; `read` makes the translation that has read all before the batch.
    pub(super) fn translate(
        &self,
        first: u64,
        records: &[Line],
        read: impl FnOnce(u64) -> Result<Translation, ReadError>,
    ) -> Result<Vec<updates::Line>, ReadError> {
        let before = first.saturating_sub(1);
        // Nobody else uses this lane's; taken, so that what panics leaves nothing half done.
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
            .filter(|kept| kept.buffered_bytes() <= KEPT);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = small.collect();
        Ok(lines)
    }

    /// Forgets.
    pub(super) fn cool(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
