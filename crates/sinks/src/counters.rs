//! What has been delivered since the server was started, by kind.

use std::sync::atomic::{AtomicU64, Ordering};

use promptd_model::SinkKind;

/// The kinds, in the order of their numbers.
const KINDS: [SinkKind; 5] = [
    SinkKind::Http,
    SinkKind::Studio,
    SinkKind::CloudflareKv,
    SinkKind::Webhook,
    SinkKind::Otlp,
];

/// Numbers for one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Batches that the backend took.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the bodies of requests that were answered 2xx.
    pub bytes: u64,
    /// Attempts that are made again: no connection, no answer, 408, 429, 5xx.
    pub retries: u64,
    /// Attempts that the backend refused for good: 4xx.
    pub refusals: u64,
}

#[derive(Debug, Default)]
struct Atomic {
    batches: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    retries: AtomicU64,
    refusals: AtomicU64,
}

/// Counts.
#[derive(Debug, Default)]
pub struct Counters([Atomic; KINDS.len()]);

impl Counters {
    /// The numbers of every kind.
    pub fn all(&self) -> impl Iterator<Item = (SinkKind, Counted)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KINDS.into_iter().zip(&self.0).map(move |(kind, atomic)| {
            let counted = Counted {
                batches: read(&atomic.batches),
                records: read(&atomic.records),
                bytes: read(&atomic.bytes),
                retries: read(&atomic.retries),
                refusals: read(&atomic.refusals),
            };
            (kind, counted)
        })
    }

    /// Adds to the numbers of a kind.
    pub(super) fn add(&self, kind: SinkKind, counted: Counted) {
        let Some((_, atomic)) = KINDS.into_iter().zip(&self.0).find(|(of, _)| *of == kind) else {
            return;
        };
        for (counter, more) in [
            (&atomic.batches, counted.batches),
            (&atomic.records, counted.records),
            (&atomic.bytes, counted.bytes),
            (&atomic.retries, counted.retries),
            (&atomic.refusals, counted.refusals),
        ] {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }
}
