//! The body of a request that nobody has read to its end.
//!
//! A connection that is closed while the caller still sends is reset, and a reset can overtake the answer. So what comes
//! of the body after the answer is read and thrown away, within limits. Then the connection can also be used again.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::body::{Frame, SizeHint};

/// How much of a body is read, and for how long. A caller that sends more is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestLimits {
    bytes: usize,
    time: Duration,
}

/// Beyond that, being cut off is cheaper for both.
pub(crate) const SERVED: RestLimits = RestLimits {
    bytes: 256 << 20,
    time: Duration::from_secs(15),
};

/// For a connection beyond the bound, which has to go soon.
pub(crate) const REFUSED: RestLimits = RestLimits {
    bytes: 64 << 10,
    time: Duration::from_secs(2),
};

/// Sees to it that the rest of the request's body is read, whatever becomes of the request.
pub(crate) fn read_rest(request: Request, limits: RestLimits) -> Request {
    // This caller sends its body only when it is asked for.
    let waits = request.headers().contains_key(EXPECT);
    request.map(|body| {
        Body::new(WholeBody {
            body: Some(body),
            waits,
            limits,
        })
    })
}

/// A body whose rest is read when it is dropped.
struct WholeBody {
    /// `None` after its end.
    body: Option<Body>,
    /// Nothing of it is sent before somebody reads.
    waits: bool,
    limits: RestLimits,
}

impl HttpBody for WholeBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.waits = false;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for WholeBody {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !self.waits && !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(drain(body, self.limits));
        }
    }
}

async fn drain(body: Body, limits: RestLimits) {
    let mut chunks = body.into_data_stream();
    let read = async {
        let mut bytes = 0_usize;
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes = bytes.saturating_add(chunk.len());
            if bytes > limits.bytes {
                return;
            }
        }
    };
    let _late = tokio::time::timeout(limits.time, read).await;
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;

    use super::*;

    /// A request whose body has no end, and how often the body was read.
    fn endless(expects: bool) -> (Request, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let body = stream::poll_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok::<_, io::Error>(Bytes::from(vec![b'x'; 1 << 10]))))
        });
        let mut request = Request::new(Body::from_stream(body));
        if expects {
            request.headers_mut().insert(EXPECT, "100-continue".parse().unwrap());
        }
        (request, reads)
    }

    #[tokio::test]
    async fn the_rest_is_read_up_to_its_limit() {
        let (request, reads) = endless(false);
        drop(read_rest(request, REFUSED));
        // The stream is always ready, so the task runs to its end in one go.
        tokio::task::yield_now().await;
        assert_eq!(reads.load(Ordering::Relaxed), 65);
    }

    #[tokio::test]
    async fn a_body_that_was_not_sent_yet_is_not_asked_for() {
        let (request, reads) = endless(true);
        drop(read_rest(request, SERVED));
        tokio::task::yield_now().await;
        assert_eq!(reads.load(Ordering::Relaxed), 0);
    }
}
