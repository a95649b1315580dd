//! What has been delivered since the server was started, by kind of sink.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use promptd_model::SinkKind;

/// The numbers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that backends accepted.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the bodies of accepted requests.
    pub bytes: u64,
    /// Attempts that failed and are retried: no connection, no answer, 408, 429, 5xx.
    pub retries: u64,
    /// Attempts that a backend refused: 4xx.
    pub refusals: u64,
}

/// The numbers of all kinds.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<SinkKind, Counts>>);

impl Counters {
    /// The numbers of every kind.
    pub fn all(&self) -> impl Iterator<Item = (SinkKind, Counts)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = move |kind| (kind, counts.get(&kind).copied().unwrap_or_default());
        SinkKind::ALL.into_iter().map(of)
    }

    /// Adds to the numbers of a kind.
    pub(super) fn add(&self, kind: SinkKind, more: Counts) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry(kind).or_default();
        counts.batches = counts.batches.saturating_add(more.batches);
        counts.records = counts.records.saturating_add(more.records);
        counts.bytes = counts.bytes.saturating_add(more.bytes);
        counts.retries = counts.retries.saturating_add(more.retries);
        counts.refusals = counts.refusals.saturating_add(more.refusals);
    }
}
