//! A connection whose large messages take memory as their bytes come.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::api::http::body::memory::{BodyMemory, BodyMemoryPermit, Deadline, SMALL};
use crate::api::http::keepalive::PingMonitor;

/// A connection whose messages take memory.
pub(crate) struct BoundedStream<S> {
    stream: S,
    budget: MessageBudget,
    monitor: Arc<PingMonitor>,
}

/// What a connection has read of its message.
#[derive(Clone)]
pub(crate) struct MessageBudget(Arc<Mutex<Progress>>);

struct Progress {
    memory: BodyMemory,
    /// Bytes that were read and are in no finished message.
    unfinished: usize,
    growing: Option<Growing>,
    /// The memory of a large message, and when its next bytes have to be there.
    large: Option<(BodyMemoryPermit, Deadline, Pin<Box<Sleep>>)>,
}

/// A message that waits for memory.
struct Growing {
    began: Instant,
    permit: Pin<Box<dyn Future<Output = Option<BodyMemoryPermit>> + Send>>,
    deadline: Deadline,
}

impl<S> BoundedStream<S> {
    pub(crate) fn new(stream: S, memory: BodyMemory, monitor: Arc<PingMonitor>) -> Self {
        let progress = Progress {
            memory,
            unfinished: 0,
            growing: None,
            large: None,
        };
        let budget = MessageBudget(Arc::new(Mutex::new(progress)));
        Self {
            stream,
            budget,
            monitor,
        }
    }

    pub(crate) fn budget(&self) -> MessageBudget {
        self.budget.clone()
    }
}

impl MessageBudget {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is complete: gives its memory, if it took any.
    pub(crate) fn finish_message(&self) -> Option<BodyMemoryPermit> {
        let mut progress = self.progress();
        progress.unfinished = 0;
        progress.large.take().map(|(permit, ..)| permit)
    }

    /// A control frame with this many bytes was read.
    pub(crate) fn skip(&self, bytes: usize) {
        /// The head of a control frame from a client.
        const HEAD: usize = 6;
        let mut progress = self.progress();
        progress.unfinished = progress.unfinished.saturating_sub(bytes.saturating_add(HEAD));
    }
}

impl Progress {
    /// Whether more may be read.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let unfinished = self.unfinished;
        if unfinished <= SMALL {
            return Poll::Ready(Ok(()));
        }
        let is_covered = self
            .large
            .as_ref()
            .is_some_and(|(permit, ..)| permit.covers(unfinished));
        if !is_covered {
            let growing = self.growing.get_or_insert_with(|| {
                let (permit, deadline) = match self.large.take() {
                    Some((permit, deadline, _)) => (permit, deadline),
                    None => (self.memory.permit(0), Deadline::begin()),
                };
                Growing {
                    began: Instant::now(),
                    permit: Box::pin(permit.grow(unfinished)),
                    deadline,
                }
            });
            let grown = ready!(growing.permit.as_mut().poll(context));
            let (mut deadline, waited) = (growing.deadline, growing.began.elapsed());
            self.growing = None;
            let permit = grown.ok_or_else(|| io::Error::other("there is no memory for a large message"))?;
            deadline.extend(waited);
            let timer = Box::pin(tokio::time::sleep_until(deadline.of(unfinished)));
            self.large = Some((permit, deadline, timer));
        }
        let timer = self.large.as_mut().map(|(.., timer)| timer.as_mut());
        let is_late = timer.is_some_and(|timer| timer.poll(context).is_ready());
        Poll::Ready(if is_late {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(())
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.budget.progress().poll_ready(context))?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        let mut progress = self.budget.progress();
        progress.unfinished = progress.unfinished.saturating_add(read);
        drop(progress);
        if read > 0 {
            // Also the parts of a message that takes longer than the pings allow.
            self.monitor.record_activity();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn an_unfinished_message_takes_memory_and_hands_it_over() {
        let memory = BodyMemory::new(8 << 20);
        let all = memory.free();
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut server = BoundedStream::new(server, memory.clone(), Arc::default());
        client.write_all(&vec![b'x'; 200 << 10]).await.unwrap();
        for _ in 0..4 {
            server.read_exact(&mut vec![0; 50 << 10]).await.unwrap();
        }
        assert_eq!(all - memory.free(), 3, "it takes what has come");
        let kept = server.budget().finish_message();
        assert!(kept.is_some());
        drop(kept);
        assert_eq!(memory.free(), all);
    }

    #[tokio::test]
    async fn a_client_that_uploads_is_there() {
        let (mut client, server) = tokio::io::duplex(64);
        let monitor = Arc::new(PingMonitor::default());
        monitor.set_reading(true);
        let mut server = BoundedStream::new(server, BodyMemory::new(8 << 20), Arc::clone(&monitor));
        for _ in 0..9 {
            assert!(monitor.count_ping());
            client.write_all(b"part").await.unwrap();
            server.read_exact(&mut [0; 4]).await.unwrap();
        }
    }
}
