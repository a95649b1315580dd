//! Memory for bodies and messages, and how long each may take to come.
//!
//! Memory is taken as bytes come, so one who announces much and sends little holds little. Large bodies cannot take the
//! part that is kept for medium ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bodies up to this size are not counted: each connection may have so much in memory anyway.
pub(crate) const SMALL: usize = 64 << 10;

/// Bodies up to this size have memory of their own.
const MEDIUM: usize = 1 << 20;

/// Memory that no larger body can take.
const FOR_MEDIUM: usize = 16 << 20;

/// Memory is counted in units of this size.
const UNIT: usize = 64 << 10;

/// How many bodies of the largest size there is memory for.
const LARGEST_AT_ONCE: usize = 2;

/// How long a body may pause, and how long one waits for memory.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 30_000 });

/// A body has to come faster than this, so that it does not keep the others waiting.
const MIN_BYTES_PER_SECOND: usize = if cfg!(test) { 64 << 20 } else { 256 << 10 };

/// Memory for bodies that are larger than [`SMALL`].
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory {
    general: Arc<Semaphore>,
    for_medium: Arc<Semaphore>,
    /// All units of the general memory.
    units: u32,
}

/// Memory for one body, until this is dropped.
#[derive(Debug)]
pub(crate) struct BodyMemoryPermit {
    memory: BodyMemory,
    /// The size that the body was announced with, if it was.
    announced: usize,
    general: Option<OwnedSemaphorePermit>,
    for_medium: Option<OwnedSemaphorePermit>,
}

impl BodyMemory {
    /// Memory for bodies of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        let units = units(limit.saturating_mul(LARGEST_AT_ONCE));
        let units = units.clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            general: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX))),
            for_medium: Arc::new(Semaphore::new(FOR_MEDIUM / UNIT)),
            units,
        }
    }

    /// A permit that holds nothing yet, for a body that has at least so many bytes.
    pub(crate) fn permit(&self, announced: usize) -> BodyMemoryPermit {
        BodyMemoryPermit {
            memory: self.clone(),
            announced,
            general: None,
            for_medium: None,
        }
    }

    /// Units that are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.general.available_permits() + self.for_medium.available_permits()
    }
}

impl BodyMemoryPermit {
    /// Whether it holds memory for a body of so many bytes.
    pub(crate) fn covers(&self, bytes: usize) -> bool {
        bytes <= SMALL || units(bytes).min(self.memory.units) <= self.held()
    }

    /// Waits for memory for a body of so many bytes, with those that it has already; `None` if there is none for a while,
    /// and what it held is free then.
    pub(crate) async fn grow(mut self, bytes: usize) -> Option<Self> {
        if self.covers(bytes) {
            return Some(self);
        }
        // A limit that was raised since gives no more than all of it.
        let wanted = units(bytes).min(self.memory.units);
        let is_medium = bytes.max(self.announced) <= MEDIUM;
        // One that is no longer medium leaves that memory to others.
        let kept = if is_medium {
            self.held()
        } else {
            count(self.general.as_ref())
        };
        let missing = wanted.saturating_sub(kept);
        let general = Arc::clone(&self.memory.general);
        if let Ok(permit) = Arc::clone(&general).try_acquire_many_owned(missing) {
            merge(&mut self.general, permit);
        } else {
            let for_medium = Arc::clone(&self.memory.for_medium);
            let free = async {
                tokio::select! {
                    biased;
                    permit = for_medium.acquire_many_owned(missing), if is_medium => (permit, true),
                    permit = general.acquire_many_owned(missing) => (permit, false),
                }
            };
            match tokio::time::timeout(STALL_TIMEOUT, free).await.ok()? {
                (permit, true) => merge(&mut self.for_medium, permit.ok()?),
                (permit, false) => merge(&mut self.general, permit.ok()?),
            }
        }
        if !is_medium {
            self.for_medium = None;
        }
        Some(self)
    }

    fn held(&self) -> u32 {
        count(self.general.as_ref()).saturating_add(count(self.for_medium.as_ref()))
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn count(permit: Option<&OwnedSemaphorePermit>) -> u32 {
    let permits = permit.map_or(0, OwnedSemaphorePermit::num_permits);
    u32::try_from(permits).unwrap_or(u32::MAX)
}

fn merge(held: &mut Option<OwnedSemaphorePermit>, new: OwnedSemaphorePermit) {
    match held {
        Some(held) => held.merge(new),
        None => *held = Some(new),
    }
}

/// Keeps the memory of a request's body until the request is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestMemory(Arc<Mutex<Option<BodyMemoryPermit>>>);

impl RequestMemory {
    pub(crate) fn keep(&self, permit: BodyMemoryPermit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }
}

/// When a body has to be complete: its bytes come at a least rate, after a time that is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// Of a body that begins now.
    pub(crate) fn begin() -> Self {
        Self(Instant::now() + STALL_TIMEOUT)
    }

    /// The time for which the body waited for us does not count.
    pub(crate) fn extend(&mut self, waited: Duration) {
        self.0 += waited;
    }

    /// When a body of so many bytes has to be there.
    pub(crate) fn of(self, bytes: usize) -> Instant {
        let milliseconds = bytes.saturating_mul(1_000) / MIN_BYTES_PER_SECOND;
        self.0 + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_bodies_leave_memory_for_medium_ones() {
        let memory = BodyMemory::new(8 << 20);
        let large = memory.permit(0).grow(16 << 20).await.unwrap();
        assert!(memory.permit(0).grow(2 << 20).await.is_none(), "all of it is taken");
        let announced = memory.permit(2 << 20).grow(MEDIUM).await;
        assert!(announced.is_none(), "it is going to be large");
        let medium = memory.permit(0).grow(MEDIUM).await.unwrap();
        assert!(medium.covers(MEDIUM) && !medium.covers(MEDIUM + 1));
        drop(large);
        let grown = medium.grow(2 << 20).await.unwrap();
        assert_eq!(
            memory.for_medium.available_permits(),
            FOR_MEDIUM / UNIT,
            "it is large now"
        );
        drop(grown);
        assert_eq!(memory.free(), (16 << 20) / UNIT + FOR_MEDIUM / UNIT);
    }

    #[tokio::test]
    async fn two_bodies_that_wait_for_each_other_both_end() {
        let memory = BodyMemory::new(2 << 20);
        let one = memory.permit(0).grow(2 << 20).await.unwrap();
        let two = memory.permit(0).grow(2 << 20).await.unwrap();
        let (one, two) = tokio::join!(one.grow(3 << 20), async {
            tokio::time::sleep(STALL_TIMEOUT / 2).await;
            two.grow(3 << 20).await
        });
        assert!(one.is_none() && two.is_some(), "the first one gives up for the second");
    }
}
