//! A feed as the body of an HTTP answer: SSE or NDJSON.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::api::http::negotiate::StreamFormat;
use crate::api::http::problem::Problem;
use crate::api::stream::feed::{Feed, Step, Until};
use crate::api::stream::framer::Framer;
use crate::runtime::{Runtime, Session};
use promptd_journal::ReadError;
use promptd_model::View;

/// Has a browser reconnect a second after the connection broke.
const RETRY: &[u8] = b"retry: 1000\n\n";
/// The stream is complete: a client need not reconnect.
const END: &[u8] = b"event: end\ndata: {}\n\n";
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Keeps proxies such as nginx from buffering events.
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
    format: StreamFormat,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begin,
    Records,
    /// All records are sent, and the end is not.
    End,
    Over,
}

/// The answer that streams a part of a session's journal.
pub(crate) fn response(
    runtime: &Arc<Runtime>,
    session: &Arc<Session>,
    part: Part,
    format: StreamFormat,
) -> Result<Response, Problem> {
    let feed = Feed::open(runtime, session, part.after, part.until, part.view)?;
    let events = Events {
        feed,
        framer: Framer::new(format, part.turn, part.after),
        format,
        phase: Phase::Begin,
    };
    let body = Body::from_stream(stream::unfold(events, |mut events| async {
        let next = events.next().await?;
        Some((next, events))
    }));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (NO_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.phase == Phase::Begin {
            self.phase = Phase::Records;
            if let Some(retry) = self.control(RETRY) {
                return Some(Ok(retry));
            }
        }
        while self.phase == Phase::Records {
            let bytes = match self.feed.next(self.framer.seq()).await {
                Ok(Step::Piece(piece)) => self.framer.frame(&piece),
                Ok(Step::Lines(lines)) => self.framer.lines(&lines),
                Ok(Step::Silence) => {
                    if let Some(comment) = self.control(KEEP_ALIVE) {
                        return Some(Ok(comment));
                    }
                    continue;
                }
                Ok(Step::End) => {
                    self.phase = Phase::End;
                    continue;
                }
                Ok(Step::Shutdown) => {
                    self.phase = Phase::Over;
                    return self.control(RETRY).map(Ok);
                }
                Err(error) => {
                    self.phase = Phase::Over;
                    return Some(Err(error));
                }
            };
            if self.framer.has_ended() {
                self.phase = Phase::End;
            }
            if !bytes.is_empty() {
                self.feed.reset_silence();
                return Some(Ok(bytes));
            }
        }
        if self.phase == Phase::End {
            self.phase = Phase::Over;
            return self.control(END).map(Ok);
        }
        None
    }

    /// What is not a record is sent in SSE only.
    fn control(&self, text: &'static [u8]) -> Option<Bytes> {
        (self.format == StreamFormat::Sse).then(|| Bytes::from_static(text))
    }
}
