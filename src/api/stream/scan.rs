//! Pieces of the journal to records, whatever the cut; pure.
//!
//! A piece is usually many whole lines, but a line may be larger than a piece, and a piece may end
//! anywhere. What the scanner reports is the same for every cut, and it keeps nothing but a head that is not whole.

use promptd_model::{Head, parse_head};

/// A head fits in this many bytes.
const HEAD: usize = 256;

/// What a scanner reports about the records it reads.
pub(crate) trait Records {
    /// A record begins. `line` is its beginning (at least its head); no `head` means that it is not one of ours.
    fn begin(&mut self, head: Option<Head<'_>>, line: &[u8]);

    /// The next bytes of the record's line; the first ones include the head.
    fn text(&mut self, text: &[u8]);

    /// The record's line is over.
    fn end(&mut self);
}

/// Where in a line the next byte belongs.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The beginning of a line whose head is not whole yet.
    head: Vec<u8>,
    begun: bool,
}

impl Scanner {
    /// Scans the bytes that follow those of the last call.
    pub(crate) fn scan(&mut self, bytes: &[u8], records: &mut impl Records) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let (text, behind) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, &[]));
            self.text(text, end.is_some(), records);
            rest = behind.get(1..).unwrap_or_default();
        }
    }

    fn text(&mut self, text: &[u8], ends: bool, records: &mut impl Records) {
        if self.begun {
            records.text(text);
        } else if self.head.is_empty() && (ends || text.len() >= HEAD) {
            self.begin(text, records);
        } else {
            self.head.extend_from_slice(text);
            if ends || self.head.len() >= HEAD {
                let line = std::mem::take(&mut self.head);
                self.begin(&line, records);
            }
        }
        if ends {
            records.end();
            self.begun = false;
        }
    }

    fn begin(&mut self, line: &[u8], records: &mut impl Records) {
        self.begun = true;
        records.begin(parse_head(line), line);
        records.text(line);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A journal of records of all sizes: `seq` counts, turns alternate in runs, every fifth ends a turn.
    pub(crate) fn journal(lengths: &[usize]) -> Vec<u8> {
        let mut text = Vec::new();
        for (seq, length) in (1_u64..).zip(lengths) {
            let turn = 1 + seq / 7;
            let kind = if seq % 5 == 0 {
                r#""turn_ended","result":"#.to_owned()
            } else {
                format!(r#""stdout","to":{},"data":"#, seq * 10)
            };
            let data = "x".repeat(*length);
            let line = format!(
                "{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:00.123456Z\",\"turn\":{turn},\"type\":{kind}\"{data}\"}}\n"
            );
            text.extend_from_slice(line.as_bytes());
        }
        text
    }

    /// Cuts a text into pieces of these sizes, again and again.
    pub(crate) fn cut<'a>(text: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = text;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).clamp(1, rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }

    #[derive(Debug, Default, PartialEq)]
    struct Recorded(Vec<(Option<u64>, Vec<u8>)>, usize);

    impl Records for Recorded {
        fn begin(&mut self, head: Option<Head<'_>>, line: &[u8]) {
            assert!(head.is_none() || parse_head(line) == head);
            self.0.push((head.map(|head| head.seq), Vec::new()));
        }
        fn text(&mut self, text: &[u8]) {
            self.0.last_mut().unwrap().1.extend_from_slice(text);
        }
        fn end(&mut self) {
            self.1 += 1;
        }
    }

    #[test]
    fn a_line_that_is_no_record_has_no_head() {
        let mut recorded = Recorded::default();
        Scanner::default().scan(b"garbage\n\nmore\n", &mut recorded);
        let expected = vec![
            (None, b"garbage".to_vec()),
            (None, Vec::new()),
            (None, b"more".to_vec()),
        ];
        assert_eq!(recorded, Recorded(expected, 3));
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_records(lengths in proptest::collection::vec(0_usize..700, 0..20), sizes in proptest::collection::vec(1_usize..900, 1..9)) {
            let text = journal(&lengths);
            let (mut whole, mut pieces) = (Recorded::default(), Recorded::default());
            Scanner::default().scan(&text, &mut whole);
            let mut scanner = Scanner::default();
            for piece in cut(&text, &sizes) {
                scanner.scan(piece, &mut pieces);
            }
            prop_assert_eq!(whole.1, lengths.len());
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn garbage_never_panics(text in proptest::collection::vec(any::<u8>(), 0..600)) {
            Scanner::default().scan(&text, &mut Recorded::default());
        }
    }
}
