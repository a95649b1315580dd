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

/// How long the rest of a body is read. A caller that sends for longer is cut off.
const MAX_TIME: Duration = Duration::from_secs(15);

/// How much of it is read: beyond that, being cut off is cheaper for both.
const MAX_BYTES: usize = 256 << 20;

/// Sees to it that the rest of the request's body is read, whatever becomes of the request.
pub(crate) fn read_rest(request: Request) -> Request {
    // This caller sends its body only when it is asked for.
    let waits = request.headers().contains_key(EXPECT);
    request.map(|body| {
        Body::new(WholeBody {
            body: Some(body),
            waits,
        })
    })
}

/// A body whose rest is read when it is dropped.
struct WholeBody {
    /// `None` after its end.
    body: Option<Body>,
    /// Nothing of it is sent before somebody reads.
    waits: bool,
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
            runtime.spawn(drain(body));
        }
    }
}

async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let read = async {
        let mut bytes = 0_usize;
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes = bytes.saturating_add(chunk.len());
            if bytes > MAX_BYTES {
                return;
            }
        }
    };
    let _late = tokio::time::timeout(MAX_TIME, read).await;
}
