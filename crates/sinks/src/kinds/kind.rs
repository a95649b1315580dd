//! What a kind of sink is.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use crate::source::SessionInfo;
use promptd_agents::updates;
use promptd_journal::ReadError;
use promptd_model::{Head, Record, SessionState, decode, parse_head};

/// A masked record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number in the journal.
    pub(crate) seq: u64,
    /// The line without its newline.
    pub(crate) text: Bytes,
}

impl Line {
    /// The head of the record.
    pub(crate) fn head(&self) -> Option<Head<'_>> {
        parse_head(&self.text)
    }

    /// The decoded record.
    pub(crate) fn record(&self) -> Option<Record> {
        decode(&self.text)
    }

    /// When the record was written; also for unknown types of records.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        #[derive(serde::Deserialize)]
        struct Time {
            time: Timestamp,
        }
        serde_json::from_slice::<Time>(&self.text)
            .ok()
            .map(|Time { time }| time)
    }
}

/// Calls back with every masked line from the session's first record to the batch's last.
pub(crate) type History<'a> = dyn Fn(&mut dyn FnMut(&Line)) -> Result<(), ReadError> + 'a;

/// Translates the records of a batch into lines of `view=updates`.
pub(crate) type Updates<'a> = dyn Fn() -> Result<Vec<updates::Line>, ReadError> + 'a;

/// A part of the journal. Its bounds do not change after the first attempt.
pub(crate) struct Batch<'a> {
    /// The session.
    pub(crate) info: &'a SessionInfo,
    /// The epoch in which it was cut.
    pub(crate) epoch: &'a str,
    /// The first `seq`; 0 for the creation of the session.
    pub(crate) first: u64,
    /// The last `seq`.
    pub(crate) last: u64,
    /// Its records that the kind wants.
    pub(crate) lines: &'a [Line],
    /// The session's state. For turns that ended in the batch it does not change any more.
    pub(crate) state: &'a SessionState,
    /// The time of this attempt. Only a signature may depend on it.
    pub(crate) now: Timestamp,
    /// The whole journal up to `last`.
    pub(crate) history: &'a History<'a>,
    /// Its records as `view=updates`, for a kind that wants all records.
    pub(crate) updates: &'a Updates<'a>,
}

impl Batch<'_> {
    /// Its first and its last `seq`.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.first, self.last)
    }
}

/// An HTTP request of a batch.
#[derive(Clone, PartialEq)]
pub(crate) struct Message {
    /// The method.
    pub(crate) method: Method,
    /// The URL.
    pub(crate) url: Url,
    /// The headers, without `Idempotency-Key`, `Promptd-Session` and `Promptd-Epoch`.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// The records that the message is about, for its key: usually those of the batch.
    pub(crate) bounds: (u64, u64),
    /// Distinguishes messages about the same records: the end of the key.
    pub(crate) part: Option<&'static str>,
    /// 404 counts as success, because the backend need not have this route.
    pub(crate) may_be_missing: bool,
}

impl fmt::Debug for Message {
    /// Without URL, headers and body, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("method", &self.method)
            .field("bounds", &self.bounds)
            .field("part", &self.part)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Where the messages of a sink go.
pub(crate) struct Endpoint {
    /// The configured URL. Sinks with the same origin share connections.
    pub(crate) url: Url,
    /// The headers of every message.
    pub(crate) headers: HeaderMap,
    /// Values that must never be shown: keys, tokens, secret parts of the URL.
    pub(crate) secrets: Vec<String>,
}

impl Endpoint {
    /// A POST request about these records.
    pub(crate) fn post(&self, url: &Url, body: impl Into<Bytes>, bounds: (u64, u64)) -> Message {
        Message {
            method: Method::POST,
            url: url.clone(),
            headers: self.headers.clone(),
            body: body.into(),
            bounds,
            part: None,
            may_be_missing: false,
        }
    }
}

/// How a kind wants its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchShape {
    /// Maximum bytes of records in a batch, each with a separator. A single record may be larger.
    pub(crate) bytes: usize,
    /// At most one wanted record in a batch.
    pub(crate) single: bool,
    /// The creation of the session is sent, too, as the batch with `first` and `last` 0.
    pub(crate) creation: bool,
    /// Minimum time between two batches.
    pub(crate) interval: Duration,
}

impl BatchShape {
    /// Batches with at most this many bytes of records.
    pub(crate) const fn of_bytes(bytes: usize) -> Self {
        Self {
            bytes,
            single: false,
            creation: false,
            interval: Duration::ZERO,
        }
    }
}

/// A kind of sink, with its settings.
pub(crate) trait Kind: Send + Sync {
    /// How it wants its batches.
    fn shape(&self) -> BatchShape;

    /// Where its messages go.
    fn endpoint(&self) -> &Endpoint;

    /// Whether it wants a record.
    fn wants(&self, _head: Head<'_>) -> bool {
        true
    }

    /// Whether it wants the record of a line.
    fn wants_line(&self, line: &Line) -> bool {
        line.head().is_some_and(|head| self.wants(head))
    }

    /// How many of these lines may be sent now; the others wait for later ones.
    fn ready(&self, lines: &[Line]) -> usize {
        lines.len()
    }

    /// The messages of a batch in the order of sending; there may be none.
    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError>;
}

impl fmt::Debug for dyn Kind {
    /// Without settings, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kind")
    }
}
