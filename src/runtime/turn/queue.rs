//! The queue for a place among the running turns: first come, first served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use promptd_model::SessionId;

/// Who runs, and who waits.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    limit: usize,
    running: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    session: SessionId,
    wake: oneshot::Sender<Place>,
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    session: SessionId,
    turn_comes: oneshot::Receiver<Place>,
}

/// A place among the running turns; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Queue>);

impl Queue {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                limit,
                ..Inner::default()
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how many turns may run at once.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: usize) {
        self.lock().limit = limit;
        self.admit();
    }

    /// Takes a place for a turn that runs already: it was adopted, whatever the limit says.
    pub(crate) fn adopt(self: &Arc<Self>) -> Place {
        let mut inner = self.lock();
        inner.running = inner.running.saturating_add(1);
        Place(Arc::clone(self))
    }

    /// Lines up.
    pub(crate) fn line_up(self: &Arc<Self>, session: SessionId) -> Ticket {
        let (wake, turn_comes) = oneshot::channel();
        self.lock().waiting.push_back(Waiting {
            session: session.clone(),
            wake,
        });
        self.admit();
        Ticket {
            queue: Arc::clone(self),
            session,
            turn_comes,
        }
    }

    /// How many turns are ahead of a session's, if it waits.
    pub(crate) fn position(&self, session: &SessionId) -> Option<usize> {
        self.lock()
            .waiting
            .iter()
            .position(|waiting| waiting.session == *session)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn admit(self: &Arc<Self>) {
        let mut inner = self.lock();
        while inner.running < inner.limit {
            let Some(next) = inner.waiting.pop_front() else { return };
            inner.running = inner.running.saturating_add(1);
            // Who does not wait any more gives the place back as it is dropped, which needs the lock.
            drop(inner);
            drop(next.wake.send(Place(Arc::clone(self))));
            inner = self.lock();
        }
    }
}

impl Ticket {
    /// Waits for a place.
    pub(crate) async fn place(&mut self) -> Option<Place> {
        (&mut self.turn_comes).await.ok()
    }

    /// The place, if it is free by now.
    pub(crate) fn place_now(&mut self) -> Option<Place> {
        self.turn_comes.try_recv().ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue
            .lock()
            .waiting
            .retain(|waiting| waiting.session != self.session);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut inner = self.0.lock();
            inner.running = inner.running.saturating_sub(1);
        }
        self.0.admit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SessionId {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn places_go_in_order_and_who_leaves_is_skipped() {
        let queue = Queue::new(1);
        let mut first = queue.line_up(id("first"));
        let place = first.place().await.unwrap();
        let second = queue.line_up(id("second"));
        let mut third = queue.line_up(id("third"));
        assert_eq!(
            (queue.position(&id("second")), queue.position(&id("third"))),
            (Some(0), Some(1))
        );
        drop(second);
        assert_eq!(queue.position(&id("third")), Some(0));
        drop(place);
        assert!(third.place().await.is_some());
        assert_eq!(queue.lock().running, 0, "the place was given back");
    }

    #[tokio::test]
    async fn a_place_that_nobody_fetched_is_not_lost() {
        let queue = Queue::new(1);
        drop(queue.line_up(id("gone")));
        assert!(queue.line_up(id("next")).place().await.is_some());
    }
}
