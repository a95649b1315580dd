//! `GET /v1/sessions/{id}/output`: exactly the bytes that the agent wrote, in the order of the journal.
//!
//! Length and range are known before anything is read, because every output record tells its offset. Other
//! records cost a glance at their heads. Bytes that a `gap` record reports missing are sent as NUL, so that
//! offsets stay true.
//!
//! Where there are secrets to hide, length and range are those of what is shown, and only reading it all tells
//! them: it is read twice. What is shown of a record never depends on later ones, so that both times are the same.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind};

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;

use crate::api::Shared;
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::http::range::{self, Ranged};
use crate::api::stream::feed::{Feed, Step, Until};
use crate::api::stream::scan::{Records, Scanner};
use promptd_model::{Body, Gap, Output, SessionState, Stream, len64};
use promptd_model::{Head, RecordKind, decode, decode_output};

/// One chunk of what is missing.
const NULS: &[u8] = &[0; 16 << 10];

/// The bytes that the agent wrote.
#[utoipa::path(get, path = "/v1/sessions/{id}/output", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session"),
        ("stream" = Option<Stream>, Query, description = "Which stream; stdout when absent"),
        ("turn" = Option<u32>, Query, description = "Only this turn; all turns, in the order of the journal, when absent"),
        ("Range" = Option<String>, Header, description = "`bytes=a-b`, `bytes=a-` or `bytes=-n`"),
    ),
    responses(
        (status = 200, description = "All bytes so far", content_type = "text/plain"),
        (status = 206, description = "The range", content_type = "text/plain"),
        (status = 416, description = "`range_not_satisfiable`: the range begins behind the end", body = crate::api::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = crate::api::openapi::ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn output(
    State(api): State<Shared>,
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
    let masker = api.runtime.masker(&session);
    let open = || -> Result<Feed, Problem> {
        let follower = api.runtime.follow_masked(&session, after, masker.clone())?;
        Ok(Feed::of(&api.runtime, &session, follower, Until::Now))
    };
    let masked = masker.is_some();
    let total = if masked {
        measure(
            open()?,
            Cut::new((stream, turn, masked), u64::MAX, u64::MAX),
            state.last_seq,
        )
        .await?
    } else {
        exact
    };
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let (status, start, end) = match range::parse(range, total) {
        Ranged::Whole => (StatusCode::OK, 0, total),
        Ranged::Part(start, end) => (StatusCode::PARTIAL_CONTENT, start, end),
        Ranged::Unsatisfiable => return Err(unsatisfiable(range.unwrap_or_default(), total)),
    };
    let reader = Reader {
        feed: open()?,
        scanner: Scanner::default(),
        cut: Cut::new((stream, turn, masked), start, end),
        over: false,
    };
    let mut response = Response::new(HttpBody::from_stream(stream::unfold(reader, |mut reader| async {
        let next = reader.next().await?;
        Some((next, reader))
    })));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // An agent may print HTML; no browser is to take it for a page of ours.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(end.saturating_sub(start)));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{total}", end.saturating_sub(1));
        headers.insert(
            CONTENT_RANGE,
            HeaderValue::try_from(range).map_err(|error| Problem::internal(&error))?,
        );
    }
    Ok(response)
}

/// Behind which record the output begins, and how many bytes there are.
fn extent(state: &SessionState, stream: Stream, turn: Option<u32>) -> Result<(u64, u64), Problem> {
    match turn {
        None => Ok((
            0,
            state
                .turns
                .iter()
                .map(|turn| turn.offset(stream).to)
                .fold(0, u64::saturating_add),
        )),
        Some(number) => {
            let turn = state.turn(number).ok_or_else(|| {
                let last = state.turns.last().map_or(0, |turn| turn.turn);
                let detail = format!("there is no turn {number}; the session's last turn is {last}");
                Problem::new(StatusCode::NOT_FOUND, "turn_not_found", detail)
            })?;
            Ok((turn.prompt_seq.saturating_sub(1), turn.offset(stream).to))
        }
    }
}

/// How many bytes there are to show, up to the record `last_seq` at least.
async fn measure(mut feed: Feed, mut cut: Cut, last_seq: u64) -> Result<u64, Problem> {
    let mut scanner = Scanner::default();
    while cut.seen < last_seq {
        match feed.next(cut.seen).await? {
            Step::Piece(piece) => scanner.scan(&piece.bytes, &mut cut),
            // This feed is of the journal itself.
            Step::Lines(_) | Step::Silence => {}
            Step::End => break,
            Step::Shutdown => return Err(Problem::shutting_down()),
        }
    }
    Ok(cut.position)
}

fn unsatisfiable(range: &str, total: u64) -> Problem {
    let detail = format!("the range {range:?} begins behind the end; there are {total} bytes");
    Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail)
        .with_header(CONTENT_RANGE, format!("bytes */{total}"))
}

struct Reader {
    feed: Feed,
    scanner: Scanner,
    cut: Cut,
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            if let Some(bytes) = self.cut.pop() {
                return Some(Ok(bytes));
            }
            if self.over || self.cut.position >= self.cut.end {
                return None;
            }
            match self.feed.next(0).await {
                Ok(Step::Piece(piece)) => self.scanner.scan(&piece.bytes, &mut self.cut),
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

/// Cuts a range out of a stream's bytes.
#[derive(Debug)]
struct Cut {
    stream: Stream,
    turn: Option<u32>,
    /// Records tell the offsets of the exact bytes, and hold others.
    masked: bool,
    start: u64,
    end: u64,
    /// How many of the stream's bytes have come by.
    position: u64,
    /// The `seq` of the last record that has come by.
    seen: u64,
    /// How far each turn is in its own stream.
    offsets: BTreeMap<u32, u64>,
    /// The current line, when it is needed.
    line: Option<Line>,
    ready: VecDeque<Segment>,
}

#[derive(Debug)]
struct Line {
    turn: u32,
    is_gap: bool,
    text: Vec<u8>,
}

#[derive(Debug)]
enum Segment {
    Bytes(BytesMut),
    Missing(u64),
}

impl Cut {
    fn new((stream, turn, masked): (Stream, Option<u32>, bool), start: u64, end: u64) -> Self {
        Self {
            stream,
            turn,
            masked,
            seen: 0,
            start,
            end,
            position: 0,
            offsets: BTreeMap::new(),
            line: None,
            ready: VecDeque::new(),
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        match self.ready.pop_front()? {
            Segment::Bytes(bytes) => Some(bytes.freeze()),
            Segment::Missing(count) => {
                let now = count.min(len64(NULS));
                if count > now {
                    self.ready.push_front(Segment::Missing(count.saturating_sub(now)));
                }
                Some(Bytes::from_static(NULS.get(..usize::try_from(now).ok()?)?))
            }
        }
    }

    /// The turn's stream goes on to `to`; `bytes` are the last of what that adds, and any before them are missing.
    fn advance(&mut self, turn: u32, to: u64, bytes: &[u8], is_gap: bool) {
        let offset = self.offsets.entry(turn).or_default();
        let added = to.saturating_sub(*offset);
        *offset = to.max(*offset);
        // Of a masked chunk nobody knows how long it was; what is missing has a record of its own.
        let missing = if self.masked && !is_gap {
            0
        } else {
            added.saturating_sub(len64(bytes))
        };
        self.put_missing(missing);
        self.put_bytes(bytes);
    }

    fn put_missing(&mut self, count: u64) {
        let (from, to) = self.overlap(count);
        if to > from {
            self.ready.push_back(Segment::Missing(to.saturating_sub(from)));
        }
        self.position = self.position.saturating_add(count);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        let (from, to) = self.overlap(len64(bytes));
        let within = |at: u64| usize::try_from(at.saturating_sub(self.position)).unwrap_or(usize::MAX);
        if let Some(wanted) = bytes.get(within(from)..within(to)).filter(|wanted| !wanted.is_empty()) {
            match self.ready.back_mut() {
                Some(Segment::Bytes(last)) => last.extend_from_slice(wanted),
                Some(Segment::Missing(_)) | None => self.ready.push_back(Segment::Bytes(BytesMut::from(wanted))),
            }
        }
        self.position = self.position.saturating_add(len64(bytes));
    }

    /// What of the next `count` bytes lies in the range.
    fn overlap(&self, count: u64) -> (u64, u64) {
        let behind = self.position.saturating_add(count);
        let from = self.position.max(self.start).min(behind);
        (from, behind.min(self.end).max(from))
    }

    fn skip(&mut self, turn: u32, to: u64) -> bool {
        if self.masked {
            return false;
        }
        let offset = self.offsets.entry(turn).or_default();
        let behind = self.position.saturating_add(to.saturating_sub(*offset));
        if behind > self.start && self.position < self.end {
            return false;
        }
        *offset = to.max(*offset);
        self.position = behind;
        true
    }

    fn decode(&mut self, line: &Line) {
        if line.is_gap {
            if let Some(Body::Gap(Gap {
                stream, to: Some(to), ..
            })) = decode(&line.text).map(|record| record.body)
                && stream == self.stream.name()
            {
                self.advance(line.turn, to, &[], true);
            }
        } else if let Ok(output) = serde_json::from_slice::<Output>(&line.text) {
            let mut bytes = Vec::new();
            decode_output(&output, &mut bytes);
            self.advance(line.turn, output.to, &bytes, false);
        }
    }
}

impl Records for Cut {
    fn begin(&mut self, head: Option<Head<'_>>, _line: &[u8]) {
        self.line = None;
        self.seen = head.map_or(self.seen, |head| head.seq);
        let Some(head) = head.filter(|head| self.turn.is_none_or(|turn| turn == head.turn)) else {
            return;
        };
        let (needed, is_gap) = match head.kind {
            RecordKind::Output(stream, to) => (stream == self.stream && !self.skip(head.turn, to), false),
            RecordKind::Other(name) => (name == "gap", true),
        };
        self.line = needed.then(|| Line {
            turn: head.turn,
            is_gap,
            text: Vec::new(),
        });
    }

    fn text(&mut self, text: &[u8]) {
        if let Some(line) = &mut self.line {
            line.text.extend_from_slice(text);
        }
    }

    fn end(&mut self) {
        if let Some(line) = self.line.take() {
            self.decode(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(seq: usize, turn: u32, stream: &str, to: usize, rest: &str) -> String {
        format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:00.123456Z\",\"turn\":{turn},\"type\":\"{stream}\",\"to\":{to}{rest}}}\n"
        )
    }

    fn read(journal: &str, turn: Option<u32>, start: u64, end: u64) -> Vec<u8> {
        cut(journal, (Stream::Stdout, turn, false), start, end)
    }

    fn cut(journal: &str, what: (Stream, Option<u32>, bool), start: u64, end: u64) -> Vec<u8> {
        let mut cut = Cut::new(what, start, end);
        Scanner::default().scan(journal.as_bytes(), &mut cut);
        std::iter::from_fn(|| cut.pop()).flatten().collect()
    }

    fn two_turns() -> String {
        [
            record(1, 1, "stdout", 6, r#","data":"hello""#),
            record(2, 1, "stderr", 4, r#","data":"err""#),
            record(
                3,
                1,
                "stdout",
                8,
                r#","eol":false,"base64":"/w==""#.replace("/w==", "//8=").as_str(),
            ),
            record(4, 2, "stdout", 3, r#","eol":false,"data":"abc""#),
            record(5, 1, "stdout", 13, r#","late":true,"data":"late""#),
        ]
        .concat()
    }

    #[test]
    fn the_bytes_come_back_in_the_order_of_the_journal() {
        assert_eq!(read(&two_turns(), None, 0, 99), b"hello\n\xff\xffabclate\n");
        assert_eq!(read(&two_turns(), Some(1), 0, 99), b"hello\n\xff\xfflate\n");
        assert_eq!(read(&two_turns(), Some(2), 1, 3), b"bc");
    }

    #[test]
    fn what_a_gap_reports_missing_keeps_its_place() {
        let gap = r#"{"seq":2,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"gap","stream":"stdout","bytes":3,"reason":"disk","to":5}"#;
        let journal = [
            record(1, 1, "stdout", 2, r#","data":"a""#),
            format!("{gap}\n"),
            record(3, 1, "stdout", 8, r#","eol":false,"data":"z""#),
        ]
        .concat();
        assert_eq!(read(&journal, None, 0, 99), b"a\n\0\0\0\0\0z");
        assert_eq!(read(&journal, None, 1, 4), b"\n\0\0");
    }

    #[test]
    fn masked_chunks_count_as_long_as_they_are_shown() {
        let gap = r#"{"seq":2,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"gap","stream":"stdout","bytes":3,"reason":"disk","to":43}"#;
        let journal = [
            record(1, 1, "stdout", 40, r#","data":"a***z""#),
            format!("{gap}\n"),
            record(3, 1, "stdout", 70, r#","eol":false,"data":"***""#),
        ]
        .concat();
        let what = (Stream::Stdout, None, true);
        assert_eq!(cut(&journal, what, 0, 99), b"a***z\n\0\0\0***");
        assert_eq!(cut(&journal, what, 4, 8), b"z\n\0\0");
        let mut measured = Cut::new(what, u64::MAX, u64::MAX);
        Scanner::default().scan(journal.as_bytes(), &mut measured);
        assert_eq!((measured.position, measured.seen), (12, 3));
        assert!(measured.pop().is_none());
    }

    proptest! {
        #[test]
        fn every_range_is_the_same_part_of_the_whole(start in 0_u64..20, length in 0_u64..20) {
            let whole = read(&two_turns(), None, 0, 99);
            let end = (start + length).min(len64(&whole));
            let expected = whole.get(usize::try_from(start).unwrap()..usize::try_from(end).unwrap()).unwrap_or_default();
            prop_assert_eq!(read(&two_turns(), None, start, end), expected);
        }
    }
}
