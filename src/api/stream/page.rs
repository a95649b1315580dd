//! A page of the journal as one JSON document: `{"events":[…],"next":N}`.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;

use crate::api::http::problem::Problem;
use crate::api::stream::feed::Feed;
use crate::api::stream::lines::{LineFeed, LineStep};
use promptd_agents::updates::Line;

/// Records in a page when the caller names no number.
pub(crate) const DEFAULT_LIMIT: usize = 1_000;
/// The most records in a page.
pub(crate) const MAX_LIMIT: usize = 10_000;
/// A page that has reached this many bytes takes no further record; the first one always fits.
const MAX_BYTES: usize = 4 << 20;

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
    /// `tool_call_update`, `plan`, `usage_update`; or `_raw`, output that has no ACP update: `stream`, `line` or
    /// `base64`, and `eol`, false where the line goes on.
    #[schema(value_type = Object)]
    update: serde_json::Value,
}

#[derive(Debug)]
struct Page {
    text: BytesMut,
    left: usize,
    next: u64,
    /// The `seq` of the last record that was read, in the page or not.
    seen: u64,
}

impl Page {
    fn new(text: &str, limit: usize, after: u64) -> Self {
        Self {
            text: BytesMut::from(text),
            left: limit,
            next: after,
            seen: after,
        }
    }
}

/// Reads a page of at most `limit` records behind `after`.
pub(crate) async fn read(feed: Feed, after: u64, limit: usize) -> Result<Response, Problem> {
    let mut page = Page::new("{\"events\":[", limit, after);
    let mut feed = LineFeed::new(feed);
    while page.has_room() {
        match feed.next().await? {
            LineStep::Lines(lines) => lines.iter().for_each(|line| page.push(line)),
            LineStep::End => {
                // Also past records that have no line in this view.
                page.next = feed.last_read().unwrap_or(page.next);
                break;
            }
            LineStep::Shutdown => return Err(Problem::shutting_down()),
        }
    }
    page.text.extend_from_slice(b"],\"next\":");
    page.text.extend_from_slice(page.next.to_string().as_bytes());
    page.text.extend_from_slice(b"}");
    let kind = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, kind)], page.text.freeze()).into_response())
}

impl Page {
    fn has_room(&self) -> bool {
        self.left > 0 && self.text.len() < MAX_BYTES
    }

    /// Takes a line, if there is room.
    fn push(&mut self, line: &Line) {
        // A line that is no record is left out of a document of records.
        let Some(head) = line.head() else { return };
        // The lines of one record are never split: the next page begins behind a record.
        let same_record = head.seq == self.next && head.seq == self.seen;
        self.seen = head.seq;
        if self.has_room() || same_record {
            if self.text.last() != Some(&b'[') {
                self.text.extend_from_slice(b",");
            }
            self.text.extend_from_slice(&line.text);
            self.left = self.left.saturating_sub(1);
            self.next = self.seen;
        } else {
            // No later record may take the room that this one did not find.
            self.left = 0;
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
        let mut page = Page::new("[", 3, 0);
        push_all(&mut page, &journal(&[5; 9]));
        page.text.extend_from_slice(b"]");
        let events: Vec<serde_json::Value> = serde_json::from_slice(&page.text).unwrap();
        let seqs: Vec<_> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
        assert_eq!((seqs, page.next), (vec![1, 2, 3], 3));
    }

    #[test]
    fn the_first_record_fits_whatever_its_size() {
        let mut page = Page::new("[", 3, 0);
        push_all(&mut page, &journal(&[MAX_BYTES + 1, 1]));
        assert_eq!(page.next, 1);
    }

    #[test]
    fn the_lines_of_one_record_are_never_split() {
        let lines = crate::api::stream::framer::tests::lines_sent_twice(&["a", "b"]);
        for (limit, count, next) in [(1, 1, 1), (2, 3, 2), (3, 3, 2), (4, 5, 3), (9, 7, 5)] {
            let mut page = Page::new("[", limit, 0);
            for line in &lines {
                page.push(line);
            }
            page.text.extend_from_slice(b"]");
            let events: Vec<serde_json::Value> = serde_json::from_slice(&page.text).unwrap();
            assert_eq!((events.len(), page.next), (count, next), "limit {limit}");
        }
    }
}
