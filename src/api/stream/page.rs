//! A page of the journal as one JSON document: `{"events":[…],"next":N}`.

use std::io::Error;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};

use crate::api::http::problem::Problem;
use crate::api::stream::feed::{Feed, Step};
use crate::api::stream::fragments::{Fragment, Fragmenter};
use promptd_agents::updates::Line;

/// Records in a page when the caller names no number.
pub(crate) const DEFAULT_LIMIT: usize = 1_000;
/// The most records in a page.
pub(crate) const MAX_LIMIT: usize = 10_000;
/// A page that has reached this many bytes takes no further record; the first one always fits.
const MAX_BYTES: usize = 4 << 20;
/// What is sent at once.
const BLOCK: usize = 256 << 10;

/// A page of the journal.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(crate) struct EventPage {
    /// Records, as the journal has them; with `view=updates` among them `UpdateEvent`s.
    #[schema(value_type = Vec<Object>)]
    events: Vec<serde_json::Value>,
    /// The `after` of the next page; the lines of one record are always in one page.
    next: u64,
}

/// What an agent says, as a line of `view=updates`. All other records are there as the journal has them.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(crate) struct UpdateEvent {
    /// The record that it comes from; several lines can come from one.
    seq: u64,
    /// When that was written.
    time: String,
    /// The turn.
    turn: u32,
    /// Which of its record's updates it is, from 0; absent where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// ACP's `SessionUpdate` (<https://agentclientprotocol.com/protocol/schema#sessionupdate>), distinguished by
    /// `sessionUpdate`: `user_message_chunk`, `agent_message_chunk`, `agent_thought_chunk`, `tool_call`,
    /// `tool_call_update`, `plan`, `usage_update`, `available_commands_update`, `current_mode_update`,
    /// `config_option_update`, `session_info_update`, `notice`, `compaction_update`; or `_message_superseded`, which says
    /// that the chunks of `messageId` so far are void; or `_turn_usage`, the turn's `usage` so far; or `_raw`, output that
    /// has no ACP update: `stream`, `line` or `base64`, and `eol`, false where the line goes on.
    #[schema(value_type = Object)]
    update: serde_json::Value,
}

/// The part of a page that is being made. What is ready goes out at once: a page with a large record needs no more memory
/// than a block.
#[derive(Debug)]
struct Page {
    /// What has not gone out yet.
    text: BytesMut,
    /// How much there is in all.
    bytes: usize,
    left: usize,
    next: u64,
    /// The `seq` of the last record that was read, in the page or not.
    seen: u64,
    is_empty: bool,
    /// The current line is in the page.
    is_taken: bool,
    /// More of the current record may come.
    is_open: bool,
}

impl Page {
    fn new(limit: usize, after: u64) -> Self {
        let begin = "{\"events\":[";
        Self {
            text: BytesMut::from(begin),
            bytes: begin.len(),
            left: limit,
            next: after,
            seen: after,
            is_empty: true,
            is_taken: false,
            is_open: false,
        }
    }
}

/// A page that is being read.
struct Reading {
    feed: Feed,
    fragmenter: Fragmenter,
    page: Page,
    over: bool,
}

/// Reads a page of at most `limit` records behind `after`.
pub(crate) async fn read(feed: Feed, after: u64, limit: usize) -> Result<Response, Problem> {
    let mut reading = Reading {
        feed,
        fragmenter: Fragmenter::default(),
        page: Page::new(limit, after),
        over: false,
    };
    // What goes wrong before anything is sent is a refusal.
    let first = reading.next().await?;
    let rest = stream::unfold(reading, |mut reading| async {
        let next = reading.next().await.transpose()?;
        Some((
            next.map_err(|problem| Error::other(problem.detail().to_owned())),
            reading,
        ))
    });
    let body = Body::from_stream(stream::iter(first.map(Ok)).chain(rest));
    let kind = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

impl Reading {
    /// The next bytes of the document.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.over {
            return Ok(None);
        }
        while self.page.has_room() || self.page.is_open {
            match self.feed.next(self.fragmenter.seq()).await? {
                Step::Piece(piece) => {
                    for fragment in self.fragmenter.push(&piece) {
                        self.page.push_fragment(&fragment);
                    }
                }
                Step::Lines(lines) => lines.iter().for_each(|line| self.page.push(line)),
                Step::Silence => {}
                Step::End => {
                    // Also past records that have no line in this view.
                    self.page.next = self.feed.last_read().unwrap_or(self.page.next);
                    break;
                }
                Step::Shutdown => return Err(Problem::shutting_down()),
            }
            if self.page.text.len() >= BLOCK {
                return Ok(Some(self.page.text.split().freeze()));
            }
        }
        self.over = true;
        let end = format!("],\"next\":{}}}", self.page.next);
        self.page.text.extend_from_slice(end.as_bytes());
        Ok(Some(self.page.text.split().freeze()))
    }
}

impl Page {
    fn has_room(&self) -> bool {
        self.left > 0 && self.bytes < MAX_BYTES
    }

    /// Takes a line, if there is room.
    fn push(&mut self, line: &Line) {
        // A line that is no record is left out of a document of records.
        let Some(head) = line.head() else { return };
        self.begin(head.seq);
        self.add(&line.text);
        self.is_open = self.is_taken && !line.last;
    }

    /// Takes a part of a line of the journal, if there is room.
    fn push_fragment(&mut self, fragment: &Fragment) {
        match fragment.record {
            Some(seq) => self.begin(seq),
            None if fragment.first => self.is_taken = false,
            None => {}
        }
        self.add(&fragment.bytes);
        self.is_open = self.is_taken && !fragment.last;
    }

    /// Begins a line of a record.
    fn begin(&mut self, seq: u64) {
        // The lines of one record are never split: the next page begins behind a record.
        let same_record = seq == self.next && seq == self.seen;
        self.seen = seq;
        self.is_taken = self.has_room() || same_record;
        if self.is_taken {
            if !std::mem::take(&mut self.is_empty) {
                self.add(b",");
            }
            self.left = self.left.saturating_sub(1);
            self.next = self.seen;
        } else {
            // No later record may take the room that this one did not find.
            self.left = 0;
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.is_taken {
            self.text.extend_from_slice(bytes);
            self.bytes = self.bytes.saturating_add(bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stream::scan::tests::journal;
    use bytes::Bytes;

    fn push_all(page: &mut Page, journal: &[u8]) {
        for line in journal.split_inclusive(|byte| *byte == b'\n') {
            page.push(&Line::journal(0, Bytes::copy_from_slice(line)));
        }
    }

    #[test]
    fn a_page_ends_at_its_limit_with_the_next_cursor() {
        let mut page = Page::new(3, 0);
        push_all(&mut page, &journal(&[5; 9]));
        page.text.extend_from_slice(b"]}");
        let text: serde_json::Value = serde_json::from_slice(&page.text).unwrap();
        let events = text["events"].as_array().unwrap();
        let seqs: Vec<_> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
        assert_eq!((seqs, page.next), (vec![1, 2, 3], 3));
    }

    #[test]
    fn the_first_record_fits_whatever_its_size() {
        let mut page = Page::new(3, 0);
        push_all(&mut page, &journal(&[MAX_BYTES + 1, 1]));
        assert_eq!(page.next, 1);
    }

    #[test]
    fn the_lines_of_one_record_are_never_split() {
        let lines = crate::api::stream::framer::tests::lines_sent_twice(&["a", "b"]);
        for (limit, count, next) in [(1, 1, 1), (2, 3, 2), (3, 3, 2), (4, 5, 3), (9, 7, 5)] {
            let mut page = Page::new(limit, 0);
            for line in &lines {
                page.push(line);
            }
            page.text.extend_from_slice(b"]}");
            let text: serde_json::Value = serde_json::from_slice(&page.text).unwrap();
            let events = text["events"].as_array().unwrap();
            assert_eq!((events.len(), page.next), (count, next), "limit {limit}");
        }
    }
}
