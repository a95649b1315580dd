//! A feed as the body of an HTTP answer: SSE or NDJSON.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use crate::api::http::problem::Problem;
use crate::api::stream::feed::{Feed, Step, Until};
use crate::api::stream::framer::{Framer, Wire};
use crate::runtime::{Runtime, Session};
use promptd_journal::ReadError;
use promptd_model::View;

/// Tells a browser to come back a second after it lost us.
const RETRY: &[u8] = b"retry: 1000\n\n";
/// Tells that nothing more will come, so that nobody comes back for it.
const END: &[u8] = b"event: end\ndata: {}\n\n";
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Proxies such as nginx would else collect events before they pass them on.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Which part of a journal to stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// What follows this record.
    pub(crate) after: u64,
    /// Only this turn, to its end.
    pub(crate) turn: Option<u32>,
    pub(crate) until: Until,
    pub(crate) view: View,
}

struct Events {
    feed: Feed,
    framer: Framer,
    wire: Wire,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Begin,
    Middle,
    /// Everything is out but the word that it is.
    Last,
    Over,
}

/// The answer that streams a part of a session's journal.
pub(crate) fn response(
    runtime: &Arc<Runtime>,
    session: &Arc<Session>,
    part: Part,
    wire: Wire,
) -> Result<Response, Problem> {
    let feed = Feed::open(runtime, session, part.after, part.until, part.view)?;
    let events = Events {
        feed,
        framer: Framer::new(wire, part.turn, part.after),
        wire,
        place: Place::Begin,
    };
    let body = Body::from_stream(stream::unfold(events, |mut events| async {
        let next = events.next().await?;
        Some((next, events))
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = if wire == Wire::Sse {
        "text/event-stream"
    } else {
        "application/x-ndjson"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.place == Place::Begin {
            self.place = Place::Middle;
            if let Some(retry) = self.word(RETRY) {
                return Some(Ok(retry));
            }
        }
        while self.place == Place::Middle {
            let bytes = match self.feed.next(self.framer.seq()).await {
                Ok(Step::Piece(piece)) => self.framer.frame(&piece),
                Ok(Step::Lines(lines)) => self.framer.lines(&lines),
                Ok(Step::Silence) => {
                    if let Some(comment) = self.word(KEEP_ALIVE) {
                        return Some(Ok(comment));
                    }
                    continue;
                }
                Ok(Step::End) => {
                    self.place = Place::Last;
                    continue;
                }
                Ok(Step::Shutdown) => {
                    self.place = Place::Over;
                    return self.word(RETRY).map(Ok);
                }
                Err(error) => {
                    self.place = Place::Over;
                    tracing::error!(%error, cause = %error.source, "an event stream breaks off");
                    return Some(Err(error));
                }
            };
            if self.framer.ended() {
                self.place = Place::Last;
            }
            if !bytes.is_empty() {
                self.feed.sent();
                return Some(Ok(bytes));
            }
        }
        if self.place == Place::Last {
            self.place = Place::Over;
            return self.word(END).map(Ok);
        }
        None
    }

    /// What is not a record has no place in NDJSON.
    fn word(&self, text: &'static [u8]) -> Option<Bytes> {
        (self.wire == Wire::Sse).then(|| Bytes::from_static(text))
    }
}
