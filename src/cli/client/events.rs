//! The records of a session over HTTP, from any position and across broken connections.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;
use reqwest::Response;
use serde::Deserialize;

use super::http_client::Client;
use super::request::{Request, session_path};
use crate::cli::error::CliError;
use promptd_model::View;
use promptd_model::{Head, RecordKind, parse_head};

/// The delay before reconnecting; the client waits for a server that is unreachable.
const RECONNECT: Duration = Duration::from_millis(100);

/// A cursor in a session's journal.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    client: &'a Client,
    session: String,
    view: View,
    /// The last record of which a line was returned.
    after: u64,
    /// How many lines of it were returned: in `updates`, a record can have several.
    returned: u64,
    /// How many of the next lines were returned before.
    skip: u64,
    follow: bool,
    answer: Option<Response>,
    /// What came after the last newline.
    rest: BytesMut,
}

impl<'a> Events<'a> {
    pub(crate) fn new(client: &'a Client, session: &str, after: u64, follow: bool, view: View) -> Self {
        Self {
            client,
            session: session.to_owned(),
            view,
            after,
            returned: 0,
            skip: 0,
            follow,
            answer: None,
            rest: BytesMut::new(),
        }
    }

    /// The `seq` of the last record that was returned.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// The next records as whole lines; `None` when the server ends the stream. The next call connects again.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        loop {
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None => self.connect().await?,
            };
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    self.answer = Some(answer);
                    if let Some(lines) = self.whole_lines(&chunk) {
                        return Ok(Some(lines));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::debug!(%error, after = self.after, "the event stream broke; connecting again");
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    }

    /// Waits before connecting again to a server that ended the stream too early.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(RECONNECT).await;
    }

    async fn connect(&mut self) -> Result<Response, CliError> {
        // An incomplete line is sent again.
        self.rest.clear();
        let (view, after) = match self.view {
            View::Raw => ("raw", self.after),
            // The connection may have broken between two lines of one record, so that record is read again.
            View::Updates => ("updates", self.after.saturating_sub(u64::from(self.returned > 0))),
        };
        self.skip = if self.view == View::Updates { self.returned } else { 0 };
        let query = format!("/events?after={after}&follow={}&view={view}", self.follow);
        self.client
            .send(&Request::get(session_path(&self.session, &query)).ndjson())
            .await
    }

    fn whole_lines(&mut self, chunk: &[u8]) -> Option<Bytes> {
        let length = memchr::memrchr(b'\n', chunk).map_or(0, |at| at.saturating_add(1));
        let (whole, torn) = chunk.split_at_checked(length)?;
        if whole.is_empty() {
            self.rest.extend_from_slice(torn);
            return None;
        }
        self.rest.extend_from_slice(whole);
        let mut lines = self.rest.split().freeze();
        self.rest.extend_from_slice(torn);
        while self.skip > 0 && !lines.is_empty() {
            let end = memchr::memchr(b'\n', &lines).map_or(lines.len(), |at| at.saturating_add(1));
            // The record has fewer lines now: skip nothing of the next one.
            if lines.get(..end).and_then(seq_of) != Some(self.after) {
                self.skip = 0;
                break;
            }
            lines.advance(end);
            self.skip = self.skip.saturating_sub(1);
        }
        for line in lines.split(|&byte| byte == b'\n') {
            if let Some(seq) = seq_of(line) {
                self.returned = if seq == self.after {
                    self.returned.saturating_add(1)
                } else {
                    1
                };
                self.after = seq;
            }
        }
        (!lines.is_empty()).then_some(lines)
    }
}

/// The `seq` of a line, in either view.
fn seq_of(line: &[u8]) -> Option<u64> {
    head_of(line).map(|head| head.seq)
}

/// The head of a line in either view. An update has the head of its record, without a type.
pub(crate) fn head_of(line: &[u8]) -> Option<Head<'_>> {
    parse_head(line).or_else(|| {
        let begin = line.get(..memmem::find(line, b"\"update\":")?)?;
        let begin = begin.strip_suffix(b",").unwrap_or(begin);
        let text = [begin, b"}"].concat();
        let Numbers { seq, turn } = serde_json::from_slice(&text).ok()?;
        let kind = RecordKind::Other("update");
        Some(Head { seq, turn, kind })
    })
}

#[derive(Deserialize)]
struct Numbers {
    seq: u64,
    #[serde(default)]
    turn: u32,
}
