//! Reads bodies and messages. All large ones that are not finished share one budget of memory.
//!
//! Memory for a whole body is taken before more than a little of it is read, so one that was begun can be finished, and
//! the others wait where they cost nothing: in their callers' sockets. A request keeps its memory until it is answered.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::extract::Request;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use crate::api::http::problem::Problem;

/// Bodies up to this size are not counted: each connection may have so much in memory anyway.
const SMALL: usize = 64 << 10;

/// Memory is counted in units of this size.
const UNIT: usize = 64 << 10;

/// How many bodies of the largest size there is memory for.
const LARGEST_AT_ONCE: usize = 2;

/// How long a body may pause, and how long one waits for memory.
const STALL_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 30_000 });

/// A body that has memory has to come faster than this, so that it does not keep the others waiting.
const MIN_BYTES_PER_SECOND: usize = if cfg!(test) { 64 << 20 } else { 256 << 10 };

/// How long an oversized body is read and thrown away, so that the refusal is not lost in a reset connection.
const DRAIN: Duration = Duration::from_secs(2);

/// Seconds after which a caller who found no memory may try again.
const RETRY_SECONDS: u64 = 5;

/// Memory for large bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory {
    permits: Arc<Semaphore>,
    units: u32,
}

/// Memory for one body, until this is dropped.
#[derive(Debug)]
pub(crate) struct BodyMemoryPermit {
    _permit: OwnedSemaphorePermit,
    /// When the body has to be complete.
    until: Instant,
}

impl BodyMemory {
    /// Memory for bodies of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        let units = u32::try_from(limit.saturating_mul(LARGEST_AT_ONCE) / UNIT).unwrap_or(u32::MAX);
        let units = units.clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let permits = Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX)));
        Self { permits, units }
    }

    /// Waits for memory for this many bytes; `None` if there is none for a while.
    async fn take(self, bytes: usize) -> Option<BodyMemoryPermit> {
        // A limit that was raised since gives no more than all of it.
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        let permit = tokio::time::timeout(STALL_TIMEOUT, self.permits.acquire_many_owned(units));
        let permit = permit.await.ok()?.ok()?;
        let seconds = u64::try_from(bytes / MIN_BYTES_PER_SECOND).unwrap_or(u64::MAX);
        Some(BodyMemoryPermit {
            _permit: permit,
            until: Instant::now() + STALL_TIMEOUT + Duration::from_secs(seconds),
        })
    }
}

/// Keeps the memory of a request's body until the request is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestMemory(Arc<Mutex<Option<BodyMemoryPermit>>>);

impl RequestMemory {
    fn keep(&self, memory: Option<BodyMemoryPermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = memory;
    }
}

/// Reads the whole body of a request.
pub(crate) async fn read(request: Request, limit: usize, memory: &BodyMemory) -> Result<BytesMut, Problem> {
    let kept = request.extensions().get::<RequestMemory>().cloned();
    let (body, memory) = read_body(request.into_body(), limit, memory).await?;
    if let Some(kept) = kept {
        kept.keep(memory);
    }
    Ok(body)
}

async fn read_body(
    body: Body,
    limit: usize,
    memory: &BodyMemory,
) -> Result<(BytesMut, Option<BodyMemoryPermit>), Problem> {
    let size = body.size_hint();
    let announced = usize::try_from(size.lower()).unwrap_or(usize::MAX);
    let expected = if size.exact().is_some() { announced } else { limit };
    let mut chunks = body.into_data_stream();
    let (mut whole, mut taken) = (BytesMut::new(), None::<BodyMemoryPermit>);
    let mut fits = announced <= limit;
    while fits && let Some(chunk) = next_chunk(&mut chunks, whole.len(), taken.as_ref()).await? {
        fits = whole.len().saturating_add(chunk.len()) <= limit;
        if fits && taken.is_none() && whole.len().saturating_add(chunk.len()) > SMALL {
            taken = Some(memory.clone().take(expected).await.ok_or_else(no_memory)?);
            whole.reserve(expected.saturating_sub(whole.len()));
        }
        if fits {
            whole.extend_from_slice(&chunk);
        }
    }
    if fits {
        return Ok((whole, taken));
    }
    drop((whole, taken));
    let drain = async { while let Some(Ok(_)) = chunks.next().await {} };
    // Whether all of it came within the time makes no difference to the answer.
    let _drained = tokio::time::timeout(DRAIN, drain).await;
    let detail = format!("the body has more than {limit} bytes; send less or raise limits.body_bytes");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).with("limit", limit))
}

async fn next_chunk(
    chunks: &mut BodyDataStream,
    read: usize,
    memory: Option<&BodyMemoryPermit>,
) -> Result<Option<Bytes>, Problem> {
    let pause_ends = Instant::now() + STALL_TIMEOUT;
    let until = memory.map_or(pause_ends, |memory| memory.until.min(pause_ends));
    let Ok(chunk) = tokio::time::timeout_at(until, chunks.next()).await else {
        let detail = format!("the body came too slowly: {read} bytes so far; send it again, faster");
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail));
    };
    chunk.transpose().map_err(|error| {
        let detail = format!("the body ended after {read} bytes: {error}");
        Problem::bad_request("incomplete_body", detail)
    })
}

fn no_memory() -> Problem {
    let detail = "too many large bodies are on their way at once; send it again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_bodies", detail).retry_after(RETRY_SECONDS)
}

/// A connection whose messages take memory, too.
pub(crate) struct BoundedStream<S> {
    stream: S,
    budget: MessageBudget,
}

/// What a connection has read of its message.
#[derive(Clone)]
pub(crate) struct MessageBudget(Arc<Mutex<Progress>>);

struct Progress {
    memory: BodyMemory,
    limit: usize,
    /// Bytes that were read and are in no finished message.
    unfinished: usize,
    taking: Option<Pin<Box<dyn Future<Output = Option<BodyMemoryPermit>> + Send>>>,
    taken: Option<(BodyMemoryPermit, Pin<Box<Sleep>>)>,
}

impl<S> BoundedStream<S> {
    pub(crate) fn new(stream: S, memory: BodyMemory, limit: usize) -> Self {
        let progress = Progress {
            memory,
            limit,
            unfinished: 0,
            taking: None,
            taken: None,
        };
        let budget = MessageBudget(Arc::new(Mutex::new(progress)));
        Self { stream, budget }
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
        progress.taken.take().map(|(memory, _)| memory)
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
        if self.unfinished <= SMALL {
            return Poll::Ready(Ok(()));
        }
        if self.taken.is_none() {
            let (memory, limit) = (self.memory.clone(), self.limit);
            let taking = self.taking.get_or_insert_with(|| Box::pin(memory.take(limit)));
            let taken = ready!(taking.as_mut().poll(context));
            self.taking = None;
            let memory = taken.ok_or_else(|| io::Error::other("there is no memory for a large message"))?;
            let timer = Box::pin(tokio::time::sleep_until(memory.until));
            self.taken = Some((memory, timer));
        }
        let timer = self.taken.as_mut().map(|(_, timer)| timer.as_mut());
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
    use futures_util::stream;

    const LIMIT: usize = 8 << 20;

    /// A body that stops after its first bytes.
    fn unfinished(bytes: usize) -> Body {
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b'x'; bytes]))]);
        Body::from_stream(first.chain(stream::pending()))
    }

    #[tokio::test]
    async fn unfinished_bodies_share_their_room_and_lose_it() {
        let memory = BodyMemory::new(LIMIT);
        let slow = || {
            tokio::spawn({
                let memory = memory.clone();
                async move { read_body(unfinished(1 << 20), LIMIT, &memory).await.map(drop) }
            })
        };
        let begun: Vec<_> = (0..LARGEST_AT_ONCE).map(|_| slow()).collect();
        while memory.permits.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting = slow();
        let small = read_body(Body::from(vec![b'x'; SMALL]), LIMIT, &memory).await.unwrap();
        assert_eq!(
            (small.0.len(), small.1.is_some()),
            (SMALL, false),
            "small bodies need none"
        );
        for slow in begun {
            assert_eq!(slow.await.unwrap().unwrap_err().code(), "body_timeout");
        }
        // The next one gets the memory of those that were given up.
        assert_eq!(waiting.await.unwrap().unwrap_err().code(), "body_timeout");
        assert_eq!(
            memory.permits.available_permits(),
            usize::try_from(memory.units).unwrap()
        );
    }

    #[tokio::test]
    async fn a_trickle_does_not_keep_its_room_for_ever() {
        let memory = BodyMemory::new(LIMIT);
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b'x'; 1 << 20]))]);
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(STALL_TIMEOUT / 2).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        });
        let read = read_body(Body::from_stream(first.chain(trickle)), LIMIT, &memory).await;
        assert_eq!(read.map(drop).unwrap_err().code(), "body_timeout");
    }

    #[tokio::test]
    async fn an_unfinished_message_takes_room_and_a_finished_one_hands_it_over() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let memory = BodyMemory::new(LIMIT);
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut server = BoundedStream::new(server, memory.clone(), LIMIT);
        client.write_all(&vec![b'x'; 200 << 10]).await.unwrap();
        for _ in 0..4 {
            server.read_exact(&mut vec![0; 50 << 10]).await.unwrap();
        }
        let all = usize::try_from(memory.units).unwrap();
        assert_eq!(memory.permits.available_permits(), all / LARGEST_AT_ONCE);
        let kept = server.budget().finish_message();
        assert!(kept.is_some());
        drop(kept);
        assert_eq!(memory.permits.available_permits(), all);
    }
}
