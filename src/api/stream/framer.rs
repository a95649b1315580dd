//! Records to the bytes of an event stream, SSE or NDJSON; pure.
//!
//! NDJSON is the journal's bytes, and passes without a copy unless it is limited to one turn. SSE adds its fields in one
//! buffer per piece.

use bytes::{Bytes, BytesMut};

use crate::api::http::negotiate::StreamFormat;
use crate::api::stream::scan::{Records, Scanner};
use promptd_agents::updates::Line;
use promptd_journal::Piece;
use promptd_model::{Head, RecordKind, parse_head};

/// A piece this small is copied, so that a reader that stalls does not hold the whole block around it.
const SMALL: usize = 64 << 10;

/// Turns pieces into the bytes of one stream.
#[derive(Debug)]
pub(crate) struct Framer {
    scanner: Scanner,
    out: Frames,
}

#[derive(Debug)]
struct Frames {
    format: StreamFormat,
    /// Only this turn's records and the session's own, up to its `turn_ended`.
    turn: Option<u32>,
    buffer: BytesMut,
    fate: LineFate,
    /// The `seq` of the last record that began.
    seq: u64,
    ended: bool,
}

/// What becomes of the current line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineFate {
    Skipped,
    Sent,
    /// Sent, and the last one of its turn.
    Last,
}

impl Framer {
    /// A framer for what follows the record `after`.
    pub(crate) fn new(format: StreamFormat, turn: Option<u32>, after: u64) -> Self {
        let out = Frames {
            format,
            turn,
            buffer: BytesMut::new(),
            fate: LineFate::Skipped,
            seq: after,
            ended: false,
        };
        Self {
            scanner: Scanner::default(),
            out,
        }
    }

    /// The `seq` of the last record that has been read.
    pub(crate) fn seq(&self) -> u64 {
        self.out.seq
    }

    /// The turn's last record has been read: nothing is sent any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.out.ended
    }

    /// The stream's bytes for a piece; none when nothing of it is to be sent.
    pub(crate) fn frame(&mut self, piece: &Piece) -> Bytes {
        if self.out.format == StreamFormat::Ndjson && self.out.turn.is_none() && piece.starts_line && piece.ends_line {
            self.out.seq = last_seq(&piece.bytes).unwrap_or(self.out.seq);
            return if piece.bytes.len() > SMALL {
                piece.bytes.clone()
            } else {
                Bytes::copy_from_slice(&piece.bytes)
            };
        }
        // SSE adds some bytes to each line.
        let size = piece.bytes.len();
        self.out
            .buffer
            .reserve(size.saturating_add(size / 4).saturating_add(64));
        self.scanner.scan(&piece.bytes, &mut self.out);
        self.out.buffer.split().freeze()
    }

    /// The stream's bytes for lines of a view, which come whole; none when nothing of them is to be sent.
    pub(crate) fn lines(&mut self, lines: &[Line]) -> Bytes {
        for line in lines {
            let head = line.head();
            self.out.open(head, &line.text, line.last);
            self.out.text(&line.text);
            self.out.end();
        }
        self.out.buffer.split().freeze()
    }
}

/// The `seq` of the last of whole lines.
fn last_seq(lines: &[u8]) -> Option<u64> {
    let lines = lines.strip_suffix(b"\n")?;
    let start = memchr::memrchr(b'\n', lines).map_or(0, |newline| newline.saturating_add(1));
    Some(parse_head(lines.get(start..)?)?.seq)
}

impl Records for Frames {
    fn begin(&mut self, head: Option<Head<'_>>, line: &[u8]) {
        self.open(head, line, true);
    }

    fn text(&mut self, text: &[u8]) {
        if self.fate != LineFate::Skipped {
            self.buffer.extend_from_slice(text);
        }
    }

    fn end(&mut self) {
        if self.fate != LineFate::Skipped {
            self.buffer.extend_from_slice(if self.format == StreamFormat::Sse {
                b"\n\n"
            } else {
                b"\n"
            });
        }
        self.ended |= self.fate == LineFate::Last;
    }
}

impl Frames {
    /// Begins a line. `last`: it is the last line of its record, so that a cursor may point behind it.
    fn open(&mut self, head: Option<Head<'_>>, line: &[u8], last: bool) {
        self.seq = head.map_or(self.seq, |head| head.seq);
        self.fate = self.fate_of(head);
        if self.fate == LineFate::Skipped || self.format == StreamFormat::Ndjson {
            return;
        }
        if let Some(head) = head {
            if last {
                self.buffer.extend_from_slice(b"id: ");
                self.buffer.extend_from_slice(seq_digits(line));
                self.buffer.extend_from_slice(b"\n");
            }
            self.buffer.extend_from_slice(b"event: ");
            self.buffer.extend_from_slice(head.kind.name().as_bytes());
            self.buffer.extend_from_slice(b"\n");
        }
        self.buffer.extend_from_slice(b"data: ");
    }

    fn fate_of(&self, head: Option<Head<'_>>) -> LineFate {
        match (self.turn, head) {
            (_, _) if self.ended => LineFate::Skipped,
            (Some(turn), Some(head)) if head.turn == turn && head.kind == RecordKind::Other("turn_ended") => {
                LineFate::Last
            }
            (Some(turn), Some(head)) if head.turn != turn && head.turn != 0 => LineFate::Skipped,
            (Some(_) | None, Some(_) | None) => LineFate::Sent,
        }
    }
}

/// The digits of the `seq` at the beginning of a line, as they stand there.
fn seq_digits(line: &[u8]) -> &[u8] {
    let digits = line.get(b"{\"seq\":".len()..).unwrap_or_default();
    let end = memchr::memchr(b',', digits).unwrap_or(0);
    digits.get(..end).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::stream::scan::tests::{cut, journal};
    use promptd_agents::updates::Translation;
    use promptd_agents::{Translator, Update};
    use proptest::prelude::*;

    /// Two updates for each line, and none for an empty one.
    #[derive(Clone)]
    struct Twice;

    impl Translator for Twice {
        fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
            let update = Update::message(String::from_utf8(line.to_vec()).ok()?);
            Some(if line.is_empty() {
                Vec::new()
            } else {
                vec![update.clone(), update]
            })
        }
    }

    /// The view of a turn that writes these lines.
    pub(crate) fn lines_sent_twice(lines: &[&str]) -> Vec<Line> {
        let record = |seq: usize, turn: u32, rest: &str| {
            format!("{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:00.123456Z\",\"turn\":{turn},{rest}}}\n")
        };
        let process = "\"type\":\"started\",\"pid\":7";
        let mut text = record(1, 1, process);
        for (seq, line) in (2..).zip(lines) {
            text += &record(seq, 1, &format!("\"type\":\"stdout\",\"to\":1,\"data\":\"{line}\""));
        }
        text += &record(lines.len() + 2, 2, "\"type\":\"prompt\",\"text\":\"next\"");
        text += &record(lines.len() + 3, 1, "\"type\":\"turn_ended\"");
        Translation::new(Some(Box::new(Twice)), 0).push_bytes(text.as_bytes())
    }

    #[test]
    fn only_the_last_event_of_a_record_has_its_id() {
        let mut framer = Framer::new(StreamFormat::Sse, Some(1), 0);
        let text = String::from_utf8(framer.lines(&lines_sent_twice(&["a", "", "b"])).to_vec()).unwrap();
        let heads: Vec<Vec<&str>> = text
            .split_terminator("\n\n")
            .map(|event| event.lines().filter(|line| !line.starts_with("data: {")).collect())
            .collect();
        assert_eq!(
            heads,
            [
                vec!["id: 1", "event: started"],
                vec!["event: update"],
                vec!["id: 2", "event: update"],
                vec!["event: update"],
                vec!["id: 4", "event: update"],
                vec!["id: 6", "event: turn_ended"],
            ]
        );
        assert!(framer.has_ended() && framer.seq() == 6);
    }

    /// Pieces as a reader gives them, wherever they are cut.
    pub(crate) fn pieces(text: &[u8], sizes: &[usize]) -> Vec<Piece> {
        let mut starts_line = true;
        let make = |bytes: &[u8]| {
            let ends_line = bytes.ends_with(b"\n");
            Piece {
                bytes: Bytes::copy_from_slice(bytes),
                starts_line: std::mem::replace(&mut starts_line, ends_line),
                ends_line,
            }
        };
        cut(text, sizes).into_iter().map(make).collect()
    }

    fn framed(format: StreamFormat, turn: Option<u32>, text: &[u8], sizes: &[usize]) -> (Vec<u8>, u64, bool) {
        let mut framer = Framer::new(format, turn, 0);
        let bytes = pieces(text, sizes)
            .iter()
            .flat_map(|piece| framer.frame(piece))
            .collect();
        (bytes, framer.seq(), framer.has_ended())
    }

    #[test]
    fn an_sse_event_has_id_type_and_the_record() {
        let text = br#"{"seq":12,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"stdout","to":3,"data":"hi"}"#;
        let (bytes, seq, _) = framed(StreamFormat::Sse, None, &[text.as_slice(), b"\n"].concat(), &[1_000]);
        let expected = [b"id: 12\nevent: stdout\ndata: ".as_slice(), text, b"\n\n"].concat();
        assert_eq!(
            (String::from_utf8(bytes).unwrap(), seq),
            (String::from_utf8(expected).unwrap(), 12)
        );
    }

    #[test]
    fn the_stream_of_a_turn_has_only_its_records_and_ends() {
        let text = journal(&[3; 20]);
        // Records 7 to 13 are turn 2, whose end is record 10.
        let (bytes, _, ended) = framed(StreamFormat::Ndjson, Some(2), &text, &[100_000]);
        let lines: Vec<_> = String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| parse_head(line.as_bytes()).unwrap().seq)
            .collect();
        assert_eq!((lines, ended), (vec![7, 8, 9, 10], true));
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_bytes(lengths in proptest::collection::vec(0_usize..700, 0..20), sizes in proptest::collection::vec(1_usize..900, 1..9), turn in proptest::option::of(1_u32..4)) {
            let text = journal(&lengths);
            for format in [StreamFormat::Sse, StreamFormat::Ndjson] {
                prop_assert_eq!(framed(format, turn, &text, &sizes), framed(format, turn, &text, &[usize::MAX]));
            }
            prop_assert_eq!(framed(StreamFormat::Ndjson, None, &text, &sizes).0, text.clone());
        }
    }
}
