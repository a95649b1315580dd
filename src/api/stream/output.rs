//! `GET /v1/sessions/{id}/output`: exactly the bytes that the agent wrote, in the order of the journal.
//!
//! Length and range are known before anything is read, because every output record carries its offset.
//!
//! Where there are secrets to mask, length and range are those of the masked text, which only reading it all tells: it is
//! read twice. The masked text of a record never depends on later ones, so both readings give the same.

use std::io::{Error, ErrorKind};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::http::range::{self, Conditions, Ranged};
use crate::api::state::SharedState;
use crate::api::stream::feed::{Feed, Step, Until};
use crate::api::stream::output_range::{OutputRange, Selection};
use crate::api::stream::scan::Scanner;
use crate::runtime::Session;
use promptd_model::{SessionState, Stream};

/// The bytes that the agent wrote.
#[utoipa::path(get, path = "/v1/sessions/{id}/output", tag = "sessions",
    params(
        ("stream" = Option<Stream>, Query, description = "Which stream; stdout when absent"),
        ("turn" = Option<u32>, Query, description = "Only this turn; all turns, in the order of the journal, when absent"),
        ("Range" = Option<String>, Header, description = "`bytes=a-b`, `bytes=a-` or `bytes=-n`"),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range continues; with any other one the answer has all bytes"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag`: 304 where nothing has changed since"),
    ),
    responses(
        (status = 200, description = "All bytes so far", content_type = "text/plain"),
        (status = 206, description = "The range", content_type = "text/plain"),
        (status = 304, description = "`If-None-Match` names what there is"),
        (status = 416, description = "`range_not_satisfiable`: the range begins behind the end"),
    ))]
pub(crate) async fn output(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["stream", "turn"])?;
    let stream = match query.text("stream") {
        None | Some("stdout") => Stream::Stdout,
        Some("stderr") => Stream::Stderr,
        Some(other) => return Err(invalid("stream", other, "stdout or stderr")),
    };
    let turn = query.number::<u32>("turn")?;
    let state = session.latest();
    let (after, exact) = extent(&state, stream, turn)?;
    let masker = api.runtime.masks.of_session(&session);
    let open = || -> Result<Feed, Problem> {
        let follower = api.runtime.follow_masked(&session, after, masker.clone())?;
        Ok(Feed::from_follower(&api.runtime, &session, follower, Until::Now))
    };
    let masked = masker.is_some();
    let selection = Selection { stream, turn, masked };
    let total = if masked {
        measure(open()?, OutputRange::measuring(selection), state.last_seq).await?
    } else {
        exact
    };
    let (conditions, tag) = (Conditions::of(&headers), entity_tag(&session, state.last_seq, total));
    if conditions.is_known(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let range = range.filter(|_| conditions.allow_range(&tag));
    let (status, start, end) = match range::parse(range, total) {
        Ranged::Whole => (StatusCode::OK, 0, total),
        Ranged::Part(start, end) => (StatusCode::PARTIAL_CONTENT, start, end),
        Ranged::Unsatisfiable => return Err(unsatisfiable(range.unwrap_or_default(), total)),
    };
    let reader = OutputReader {
        feed: open()?,
        scanner: Scanner::default(),
        range: OutputRange::new(selection, start, end),
        over: false,
    };
    let body = Body::from_stream(stream::unfold(reader, |mut reader| async {
        let next = reader.next().await?;
        Some((next, reader))
    }));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        // An agent may print HTML; no browser is to take it for a page of ours.
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CONTENT_LENGTH, HeaderValue::from(end.saturating_sub(start))),
    ];
    let mut response = (status, [(ETAG, tag)], headers, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{total}", end.saturating_sub(1));
        let range = HeaderValue::try_from(range).map_err(|error| Problem::internal(&error))?;
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

/// Names the bytes. What was written stays as it is, so their number names them in one session; the last record tells two
/// states apart between which some of them were masked.
fn entity_tag(session: &Session, last_seq: u64, total: u64) -> String {
    format!("\"{:x}-{last_seq:x}-{total:x}\"", session.created_at().as_microsecond())
}

/// Behind which record the output begins, and how many bytes there are.
fn extent(state: &SessionState, stream: Stream, turn: Option<u32>) -> Result<(u64, u64), Problem> {
    let Some(number) = turn else {
        let lengths = state.turns.iter().map(|turn| turn.offset(stream).to);
        return Ok((0, lengths.fold(0, u64::saturating_add)));
    };
    let turn = state.turn(number).ok_or_else(|| {
        let last = state.turns.last().map_or(0, |turn| turn.turn);
        let detail = format!("there is no turn {number}; the session's last turn is {last}");
        Problem::new(StatusCode::NOT_FOUND, "turn_not_found", detail)
    })?;
    Ok((turn.prompt_seq.saturating_sub(1), turn.offset(stream).to))
}

/// How many bytes there are to show, up to the record `last_seq` at least.
async fn measure(mut feed: Feed, mut range: OutputRange, last_seq: u64) -> Result<u64, Problem> {
    let mut scanner = Scanner::default();
    while range.seen() < last_seq {
        match feed.next(range.seen()).await? {
            Step::Piece(piece) => scanner.scan(&piece.bytes, &mut range),
            // This feed is of the journal itself.
            Step::Lines(_) | Step::Silence => {}
            Step::End => break,
            Step::Shutdown => return Err(Problem::shutting_down()),
        }
    }
    Ok(range.position())
}

fn unsatisfiable(range: &str, total: u64) -> Problem {
    let detail = format!("the range {range:?} begins behind the end; there are {total} bytes");
    Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail)
        .with_header(CONTENT_RANGE, format!("bytes */{total}"))
}

struct OutputReader {
    feed: Feed,
    scanner: Scanner,
    range: OutputRange,
    over: bool,
}

impl OutputReader {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            if let Some(bytes) = self.range.pop() {
                return Some(Ok(bytes));
            }
            if self.over || self.range.is_complete() {
                return None;
            }
            match self.feed.next(0).await {
                Ok(Step::Piece(piece)) => self.scanner.scan(&piece.bytes, &mut self.range),
                Ok(Step::Lines(_) | Step::Silence) => {}
                // The promised length can no longer be kept, and breaking off is the only way to say so.
                Ok(Step::End | Step::Shutdown) => return Some(Err(self.break_off(ErrorKind::UnexpectedEof.into()))),
                Err(error) => return Some(Err(self.break_off(Error::other(error)))),
            }
        }
    }

    fn break_off(&mut self, error: Error) -> Error {
        self.over = true;
        tracing::warn!(%error, "an output breaks off");
        error
    }
}
