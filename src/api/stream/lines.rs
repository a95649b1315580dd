//! A feed as whole lines, for readers that cannot take a part of one: a large record waits for its end.

use bytes::BytesMut;

use crate::api::stream::feed::{Feed, Step};
use crate::api::stream::scan::{Records, Scanner};
use promptd_agents::updates::Line;
use promptd_journal::{Piece, ReadError};
use promptd_model::{Head, RecordKind};

/// What comes next in a feed of lines.
#[derive(Debug)]
pub(crate) enum LineStep {
    /// Lines of the view, without their newlines.
    Lines(Vec<Line>),
    /// Nothing has come for a while.
    Silence,
    /// Nothing more will come.
    End,
    /// The server shuts down; the next server has the rest.
    Shutdown,
}

/// A feed as whole lines.
#[derive(Debug)]
pub(crate) struct LineFeed {
    feed: Feed,
    splitter: Splitter,
}

impl LineFeed {
    pub(crate) fn new(feed: Feed) -> Self {
        Self::of(feed, |_| true)
    }

    /// The lines of some records only: the others are not collected.
    pub(crate) fn of(feed: Feed, wants: fn(RecordKind<'_>) -> bool) -> Self {
        let splitter = Splitter::new(wants);
        Self { feed, splitter }
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Result<LineStep, ReadError> {
        Ok(match self.feed.next(self.splitter.out.seq).await? {
            Step::Piece(piece) => LineStep::Lines(self.splitter.split(&piece)),
            Step::Lines(lines) => LineStep::Lines(lines),
            Step::Silence => LineStep::Silence,
            Step::End => LineStep::End,
            Step::Shutdown => LineStep::Shutdown,
        })
    }

    /// Ends the feed once the turns that it follows are over.
    pub(crate) fn end_when_settled(&mut self) {
        self.feed.end_when_settled();
    }

    /// The `seq` of the last record that was read, where records may have no line in the view.
    pub(crate) fn last_read(&self) -> Option<u64> {
        self.feed.last_read()
    }
}

/// Splits pieces into lines.
#[derive(Debug)]
struct Splitter {
    scanner: Scanner,
    out: Collected,
}

#[derive(Debug)]
struct Collected {
    wants: fn(RecordKind<'_>) -> bool,
    /// The current line is wanted.
    is_wanted: bool,
    line: BytesMut,
    lines: Vec<Line>,
    /// The `seq` of the last record that has been read.
    seq: u64,
}

impl Splitter {
    fn new(wants: fn(RecordKind<'_>) -> bool) -> Self {
        let out = Collected {
            wants,
            is_wanted: false,
            line: BytesMut::new(),
            lines: Vec::new(),
            seq: 0,
        };
        Self {
            scanner: Scanner::default(),
            out,
        }
    }

    /// The lines that a piece completes.
    fn split(&mut self, piece: &Piece) -> Vec<Line> {
        self.out.line.reserve(piece.bytes.len());
        self.scanner.scan(&piece.bytes, &mut self.out);
        std::mem::take(&mut self.out.lines)
    }
}

impl Records for Collected {
    fn begin(&mut self, head: Option<Head<'_>>, _line: &[u8]) {
        self.seq = head.map_or(self.seq, |head| head.seq);
        self.is_wanted = head.is_none_or(|head| (self.wants)(head.kind));
    }

    fn text(&mut self, text: &[u8]) {
        if self.is_wanted {
            self.line.extend_from_slice(text);
        }
    }

    fn end(&mut self) {
        if self.is_wanted {
            let text = self.line.split().freeze();
            self.lines.push(Line::journal(self.seq, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stream::framer::tests::pieces;
    use crate::api::stream::scan::tests::journal;
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_cut_gives_the_same_lines(lengths in proptest::collection::vec(0_usize..700, 0..20), sizes in proptest::collection::vec(1_usize..900, 1..9)) {
            let text = journal(&lengths);
            let mut splitter = Splitter::new(|_| true);
            let lines: Vec<Line> = pieces(&text, &sizes).iter().flat_map(|piece| splitter.split(piece)).collect();
            let lines: Vec<Bytes> = lines.into_iter().map(|line| line.text).collect();
            let expected: Vec<Bytes> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Bytes::copy_from_slice).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
