//! What each kind of sink makes of a batch: records in, HTTP messages out; pure.
//!
//! The same batch always gives the same messages, byte for byte, except for what a signature says about the
//! moment of an attempt. No clock, no I/O but the journal's `history`, no retry: that is the loop's.

mod body;
mod cloudflare_kv;
mod ending;
mod fields;
mod http;
mod otlp;
mod studio;
mod text;
mod webhook;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

pub use fields::SinkError;

use fields::Fields;
use promptd_agents::updates;
use promptd_journal::ReadError;
use promptd_model::{Head, decode, parse_head};
use promptd_model::{Record, SessionState, SinkKind, SinkRequest};

/// A record of a batch, as it may leave: secrets are masked already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its place in the journal.
    pub(crate) seq: u64,
    /// The line, without its newline.
    pub(crate) text: Bytes,
}

impl Line {
    /// What the beginning of the line tells.
    pub(crate) fn head(&self) -> Option<Head<'_>> {
        parse_head(&self.text)
    }

    /// All of it.
    pub(crate) fn record(&self) -> Option<Record> {
        decode(&self.text)
    }
}

/// The session that a batch is from.
#[derive(Clone, Debug)]
pub struct About {
    /// Its id.
    pub session: String,
    /// The agent's name.
    pub agent: String,
    /// The caller's name for the agent, where it gave one in `metadata.agentId`; else the agent's name.
    pub agent_id: String,
    /// The model that was asked for.
    pub model: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// In which sandbox, where that was known.
    pub sandbox: Option<String>,
}

/// Calls back with every masked line from the session's first to the batch's last.
pub(crate) type History<'a> = dyn Fn(&mut dyn FnMut(&Line)) -> Result<(), ReadError> + 'a;

/// Makes the lines of `view=updates` that come from a batch's records.
pub(crate) type Updates<'a> = dyn Fn() -> Result<Vec<updates::Line>, ReadError> + 'a;

/// A stretch of the journal, whose bounds never change once it has been tried.
pub(crate) struct Batch<'a> {
    /// Whose.
    pub(crate) about: &'a About,
    /// The epoch in which it was cut.
    pub(crate) epoch: &'a str,
    /// The first `seq`; 0 for what came before the first record: that the session was created.
    pub(crate) first: u64,
    /// The last `seq`.
    pub(crate) last: u64,
    /// Those records of it that the kind wants.
    pub(crate) lines: &'a [Line],
    /// The session's state; what it says of turns that ended within the batch does not change any more.
    pub(crate) state: &'a SessionState,
    /// When this attempt is made; only a signature may depend on it.
    pub(crate) now: Timestamp,
    /// The whole journal up to `last`.
    pub(crate) history: &'a History<'a>,
    /// Its records in other words, where a kind sends all of them.
    pub(crate) updates: &'a Updates<'a>,
}

/// One HTTP request of a batch.
#[derive(Clone, PartialEq)]
pub(crate) struct Message {
    /// The method.
    pub(crate) method: Method,
    /// Where to.
    pub(crate) url: Url,
    /// Besides `Idempotency-Key`, `Promptd-Session` and `Promptd-Epoch`, which the loop adds.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// The records that this message is about, for its key: usually the batch's.
    pub(crate) bounds: (u64, u64),
    /// Tells messages about the same records apart: ends the key, when there is one.
    pub(crate) part: Option<&'static str>,
    /// A backend that does not know this route (404) is as good as one that does.
    pub(crate) may_be_missing: bool,
}

impl fmt::Debug for Message {
    /// Without the URL, the headers and the body, any of which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("method", &self.method)
            .field("bounds", &self.bounds)
            .field("part", &self.part)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// How a kind wants its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The most bytes of records in a batch, each with a byte behind it; a single record may be larger.
    pub(crate) bytes: usize,
    /// At most one wanted record in a batch.
    pub(crate) single: bool,
    /// That the session was created is told, too, as a batch of its own (`first` and `last` 0).
    pub(crate) creation: bool,
    /// The least time between two batches.
    pub(crate) pace: Duration,
}

/// A kind of sink, with the settings of one.
pub(crate) trait Kind: fmt::Debug + Send + Sync {
    /// How it wants its batches.
    fn shape(&self) -> Shape;

    /// Where everything goes: sinks with the same origin share connections.
    fn url(&self) -> &Url;

    /// Values that must never be seen: keys, tokens, what stands in its URL's path.
    fn secrets(&self) -> Vec<&str>;

    /// Whether a record is of any interest to it.
    fn wants(&self, _head: Head<'_>) -> bool {
        true
    }

    /// How many of these lines may be sent now; the others wait for what follows them.
    fn ready(&self, lines: &[Line]) -> usize {
        lines.len()
    }

    /// The messages of a batch, in the order in which they are to be sent; none is fine.
    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError>;
}

/// The settings of a sink, checked.
pub(crate) fn of(request: &SinkRequest) -> Result<Box<dyn Kind>, SinkError> {
    let fields = Fields::of(request);
    Ok(match request.kind {
        SinkKind::Http => Box::new(http::Http::of(&fields)?),
        SinkKind::Studio => Box::new(studio::Studio::of(&fields)?),
        SinkKind::CloudflareKv => Box::new(cloudflare_kv::CloudflareKv::of(&fields)?),
        SinkKind::Webhook => Box::new(webhook::Webhook::of(&fields)?),
        SinkKind::Otlp => Box::new(otlp::Otlp::of(&fields)?),
    })
}

#[cfg(test)]
mod support_tests;
