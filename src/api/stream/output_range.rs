//! A range of the bytes that an agent wrote, out of the journal's records; pure.
//!
//! Every output record carries its offset, so records outside of the range are not decoded. Bytes that a `gap` record
//! reports missing are NUL, so that offsets stay true.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::api::stream::scan::Records;
use promptd_model::{Body, Gap, Head, Output, RecordKind, Stream, decode, decode_output, len64};

/// One chunk of what is missing.
const NULS: &[u8] = &[0; 16 << 10];

/// Whose bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    pub(crate) stream: Stream,
    /// All turns in the order of the journal where there is none.
    pub(crate) turn: Option<u32>,
    /// Records carry the offsets of the exact bytes, and hold masked ones.
    pub(crate) masked: bool,
}

/// Takes a range out of the bytes of a selection.
#[derive(Debug)]
pub(crate) struct OutputRange {
    selection: Selection,
    start: u64,
    end: u64,
    /// How many of the stream's bytes have been read.
    position: u64,
    /// The `seq` of the last record that has been read.
    seen: u64,
    /// How far each turn's own stream has been read.
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

impl OutputRange {
    pub(crate) fn new(selection: Selection, start: u64, end: u64) -> Self {
        Self {
            selection,
            seen: 0,
            start,
            end,
            position: 0,
            offsets: BTreeMap::new(),
            line: None,
            ready: VecDeque::new(),
        }
    }

    /// Measures a whole selection: nothing is in the range.
    pub(crate) fn measuring(selection: Selection) -> Self {
        Self::new(selection, u64::MAX, u64::MAX)
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The `seq` of the last record that has been read.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// All of the range has been read.
    pub(crate) fn is_complete(&self) -> bool {
        self.position >= self.end
    }

    /// The next bytes of the range.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
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

    /// The turn's stream continues to `to`; `bytes` are the last of what is added, and any before them are missing.
    fn advance(&mut self, turn: u32, to: u64, bytes: &[u8], is_gap: bool) {
        let offset = self.offsets.entry(turn).or_default();
        let added = to.saturating_sub(*offset);
        *offset = to.max(*offset);
        // The exact length of a masked chunk is not known; missing bytes have a record of their own.
        let missing = if self.selection.masked && !is_gap {
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

    /// Skips a record that is outside of the range; false when its bytes are needed.
    fn skip(&mut self, turn: u32, to: u64) -> bool {
        if self.selection.masked {
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
                && stream == self.selection.stream.name()
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

impl Records for OutputRange {
    fn begin(&mut self, head: Option<Head<'_>>, _line: &[u8]) {
        self.line = None;
        self.seen = head.map_or(self.seen, |head| head.seq);
        let Some(head) = head.filter(|head| self.selection.turn.is_none_or(|turn| turn == head.turn)) else {
            return;
        };
        let (needed, is_gap) = match head.kind {
            RecordKind::Output(stream, to) => (stream == self.selection.stream && !self.skip(head.turn, to), false),
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
    use crate::api::stream::scan::Scanner;
    use proptest::prelude::*;

    fn record(seq: usize, turn: u32, stream: &str, to: usize, rest: &str) -> String {
        format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:00.123456Z\",\"turn\":{turn},\"type\":\"{stream}\",\"to\":{to}{rest}}}\n"
        )
    }

    fn select(turn: Option<u32>, masked: bool) -> Selection {
        let stream = Stream::Stdout;
        Selection { stream, turn, masked }
    }

    fn read(journal: &str, turn: Option<u32>, start: u64, end: u64) -> Vec<u8> {
        cut(journal, select(turn, false), start, end)
    }

    fn cut(journal: &str, selection: Selection, start: u64, end: u64) -> Vec<u8> {
        let mut cut = OutputRange::new(selection, start, end);
        Scanner::default().scan(journal.as_bytes(), &mut cut);
        std::iter::from_fn(|| cut.pop()).flatten().collect()
    }

    fn two_turns() -> String {
        [
            record(1, 1, "stdout", 6, r#","data":"hello""#),
            record(2, 1, "stderr", 4, r#","data":"err""#),
            record(3, 1, "stdout", 8, r#","eol":false,"base64":"//8=""#),
            record(4, 2, "stdout", 3, r#","eol":false,"data":"abc""#),
            record(5, 1, "stdout", 13, r#","late":true,"data":"late""#),
        ]
        .concat()
    }

    #[test]
    fn bytes_are_in_the_order_of_the_journal() {
        assert_eq!(read(&two_turns(), None, 0, 99), b"hello\n\xff\xffabclate\n");
        assert_eq!(read(&two_turns(), Some(1), 0, 99), b"hello\n\xff\xfflate\n");
        assert_eq!(read(&two_turns(), Some(2), 1, 3), b"bc");
    }

    #[test]
    fn missing_bytes_are_nul_and_keep_their_offset() {
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
    fn masked_bytes_have_the_length_that_is_shown() {
        let gap = r#"{"seq":2,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"gap","stream":"stdout","bytes":3,"reason":"disk","to":43}"#;
        let journal = [
            record(1, 1, "stdout", 40, r#","data":"a***z""#),
            format!("{gap}\n"),
            record(3, 1, "stdout", 70, r#","eol":false,"data":"***""#),
        ]
        .concat();
        let what = select(None, true);
        assert_eq!(cut(&journal, what, 0, 99), b"a***z\n\0\0\0***");
        assert_eq!(cut(&journal, what, 4, 8), b"z\n\0\0");
        let mut measured = OutputRange::measuring(what);
        Scanner::default().scan(journal.as_bytes(), &mut measured);
        assert_eq!((measured.position, measured.seen), (12, 3));
        assert!(measured.pop().is_none());
    }

    proptest! {
        #[test]
        fn every_range_is_the_same_part_of_all_bytes(start in 0_u64..20, length in 0_u64..20) {
            let whole = read(&two_turns(), None, 0, 99);
            let end = (start + length).min(len64(&whole));
            let expected = whole.get(usize::try_from(start).unwrap()..usize::try_from(end).unwrap()).unwrap_or_default();
            prop_assert_eq!(read(&two_turns(), None, start, end), expected);
        }
    }
}
