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
    /// The number of the last ticket.
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    session: SessionId,
    sender: oneshot::Sender<Permit>,
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<TurnQueue>,
    number: u64,
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
        let number = {
            let mut inner = self.lock();
            inner.last = inner.last.saturating_add(1);
            let ticket = inner.last;
            inner.waiting.push_back(Waiting {
                ticket,
                session,
                sender,
            });
            ticket
        };
        self.admit();
        Ticket {
            queue: Arc::clone(self),
            number,
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
    /// Waits for the permit. There is no other way to get one than to wait for it.
    pub(crate) async fn permit(&mut self) -> Permit {
        match (&mut self.permit).await {
            Ok(permit) => permit,
            // Its sender stays in the queue as long as this ticket lives.
            Err(_) => std::future::pending().await,
        }
    }

    /// The permit, if it was given by now.
    pub(crate) fn try_permit(&mut self) -> Option<Permit> {
        self.permit.try_recv().ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Only this one: the session may hold another, for its next turn.
        self.queue
            .lock()
            .waiting
            .retain(|waiting| waiting.ticket != self.number);
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
        let permit = first.permit().await;
        let second = queue.join(id("second"));
        let mut third = queue.join(id("third"));
        assert_eq!(
            (queue.position(&id("second")), queue.position(&id("third"))),
            (Some(0), Some(1))
        );
        drop(second);
        assert_eq!(queue.position(&id("third")), Some(0));
        drop(permit);
        drop(third.permit().await);
        assert_eq!(queue.lock().running, 0, "the permit was given back");
    }

    #[tokio::test]
    async fn a_permit_that_nobody_took_is_given_back() {
        let queue = TurnQueue::new(1);
        drop(queue.join(id("gone")));
        drop(queue.join(id("next")).permit().await);
    }

    #[tokio::test]
    async fn a_ticket_takes_no_other_of_its_session_with_it() {
        let queue = TurnQueue::new(1);
        let running = queue.join(id("other")).permit().await;
        let stopped = queue.join(id("session"));
        let mut next = queue.join(id("session"));
        drop(stopped);
        assert!(next.try_permit().is_none() && queue.position(&id("session")) == Some(0));
        drop(running);
        let permit = next.permit().await;
        assert!(queue.join(id("other")).try_permit().is_none(), "one runs");
        drop(permit);
    }
}
