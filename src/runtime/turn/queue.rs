//! The queue for a permit to run a turn: first come, first served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use promptd_model::SessionId;

/// How many turns run, and which sessions wait.
#[derive(Debug, Default)]
pub(crate) struct TurnQueue {
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
    sender: oneshot::Sender<Permit>,
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<TurnQueue>,
    session: SessionId,
    permit: oneshot::Receiver<Permit>,
}

/// The permit to run a turn; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<TurnQueue>);

impl TurnQueue {
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

    /// Takes a permit for a turn that runs already, whatever the limit says.
    pub(crate) fn adopt(self: &Arc<Self>) -> Permit {
        let mut inner = self.lock();
        inner.running = inner.running.saturating_add(1);
        Permit(Arc::clone(self))
    }

    /// Joins the queue.
    pub(crate) fn join(self: &Arc<Self>, session: SessionId) -> Ticket {
        let (sender, permit) = oneshot::channel();
        self.lock().waiting.push_back(Waiting {
            session: session.clone(),
            sender,
        });
        self.admit();
        Ticket {
            queue: Arc::clone(self),
            session,
            permit,
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
            // A permit that nobody waits for is given back as it is dropped, which needs the lock.
            drop(inner);
            drop(next.sender.send(Permit(Arc::clone(self))));
            inner = self.lock();
        }
    }
}

impl Ticket {
    /// Waits for the permit.
    pub(crate) async fn permit(&mut self) -> Option<Permit> {
        (&mut self.permit).await.ok()
    }

    /// The permit, if it was given by now.
    pub(crate) fn try_permit(&mut self) -> Option<Permit> {
        self.permit.try_recv().ok()
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

impl Drop for Permit {
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
    async fn permits_are_given_in_order() {
        let queue = TurnQueue::new(1);
        let mut first = queue.join(id("first"));
        let permit = first.permit().await.unwrap();
        let second = queue.join(id("second"));
        let mut third = queue.join(id("third"));
        assert_eq!(
            (queue.position(&id("second")), queue.position(&id("third"))),
            (Some(0), Some(1))
        );
        drop(second);
        assert_eq!(queue.position(&id("third")), Some(0));
        drop(permit);
        assert!(third.permit().await.is_some());
        assert_eq!(queue.lock().running, 0, "the permit was given back");
    }

    #[tokio::test]
    async fn a_permit_that_nobody_took_is_given_back() {
        let queue = TurnQueue::new(1);
        drop(queue.join(id("gone")));
        assert!(queue.join(id("next")).permit().await.is_some());
    }
}
