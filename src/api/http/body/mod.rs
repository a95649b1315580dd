//! Reads the bodies of requests.
//!
//! Owns the bounds of a body: size, time, memory, and which JSON is accepted. Promises that all large bodies that are not
//! answered share one budget of memory, and that a refusal is not lost because the caller still sends. May not know routes.

pub(crate) mod json_text;
pub(crate) mod memory;
pub(crate) mod unread;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::extract::Request;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::api::http::body::memory::{BodyMemory, BodyMemoryPermit, Deadline, RequestMemory, STALL_TIMEOUT};
use crate::api::http::problem::Problem;

/// Seconds after which a caller who found no memory may try again.
const RETRY_SECONDS: u64 = 5;

/// Reads the whole body of a request. Its memory is kept until the request is answered.
pub(crate) async fn read(request: Request, limit: usize, memory: &BodyMemory) -> Result<BytesMut, Problem> {
    let kept = request.extensions().get::<RequestMemory>().cloned();
    let (body, permit) = read_body(request.into_body(), limit, memory).await?;
    if let Some(kept) = kept {
        kept.keep(permit);
    }
    Ok(body)
}

/// One that is announced as too large is not read at all.
async fn read_body(body: Body, limit: usize, memory: &BodyMemory) -> Result<(BytesMut, BodyMemoryPermit), Problem> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut chunks = body.into_data_stream();
    let (mut whole, mut permit) = (BytesMut::new(), memory.permit(announced));
    let mut deadline = Deadline::begin();
    let mut fits = announced <= limit;
    while fits
        && let Some(chunk) = next_chunk(&mut chunks, whole.len(), deadline.of(whole.len().max(announced))).await?
    {
        let size = whole.len().saturating_add(chunk.len());
        fits = size <= limit;
        if fits && !permit.covers(size) {
            let began = Instant::now();
            permit = permit.grow(size).await.ok_or_else(no_memory)?;
            deadline.extend(began.elapsed());
            // Pages that no byte has come for cost nothing.
            whole.reserve(announced.saturating_sub(whole.len()));
        }
        if fits {
            whole.extend_from_slice(&chunk);
        }
    }
    if fits {
        return Ok((whole, permit));
    }
    Err(too_large(limit))
}

async fn next_chunk(chunks: &mut BodyDataStream, read: usize, until: Instant) -> Result<Option<Bytes>, Problem> {
    let until = until.min(Instant::now() + STALL_TIMEOUT);
    let Ok(chunk) = tokio::time::timeout_at(until, chunks.next()).await else {
        let detail = format!("the body came too slowly: {read} bytes so far; send it again, faster");
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail));
    };
    chunk.transpose().map_err(|error| {
        let detail = format!("the body ended after {read} bytes: {error}");
        Problem::bad_request("incomplete_body", detail)
    })
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body has more than {limit} bytes; send less or raise limits.body_bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).with("limit", limit)
}

fn no_memory() -> Problem {
    let detail = "too many large bodies are on their way at once; send it again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_bodies", detail).retry_after(RETRY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::body::memory::SMALL;
    use futures_util::stream;
    use std::io;

    const LIMIT: usize = 8 << 20;

    async fn read_all(body: Body, memory: &BodyMemory) -> Result<usize, Problem> {
        read_body(body, LIMIT, memory).await.map(|(body, _)| body.len())
    }

    /// A body that stops after its first bytes.
    fn unfinished(bytes: usize) -> Body {
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b'x'; bytes]))]);
        Body::from_stream(first.chain(stream::pending()))
    }

    #[tokio::test]
    async fn slow_uploads_hold_what_they_sent_and_lose_it() {
        let memory = BodyMemory::new(LIMIT);
        let all = memory.free();
        let slow: Vec<_> = (0..4)
            .map(|_| {
                let memory = memory.clone();
                tokio::spawn(async move { read_all(unfinished(1 << 20), &memory).await })
            })
            .collect();
        while all - memory.free() < 4 * 16 {
            tokio::task::yield_now().await;
        }
        for size in [SMALL, 1 << 20, LIMIT] {
            let read = read_all(Body::from(vec![b'x'; size]), &memory).await;
            assert_eq!(read.unwrap(), size);
        }
        for slow in slow {
            assert_eq!(slow.await.unwrap().unwrap_err().code(), "body_timeout");
        }
        assert_eq!(memory.free(), all);
    }

    #[tokio::test]
    async fn a_trickle_of_any_size_ends() {
        for begun in [1, 1 << 20] {
            let first = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b'x'; begun]))]);
            let trickle = stream::unfold((), |()| async {
                tokio::time::sleep(STALL_TIMEOUT / 4).await;
                Some((Ok(Bytes::from_static(b"x")), ()))
            });
            let read = read_all(Body::from_stream(first.chain(trickle)), &BodyMemory::new(LIMIT)).await;
            assert_eq!(read.unwrap_err().code(), "body_timeout");
        }
    }
}
