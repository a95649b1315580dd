//! Lines of the journal as the fragments of WebSocket messages: a line larger than a piece needs no more memory than the
//! piece; pure.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::api::stream::scan::{Records, Scanner};
use promptd_journal::Piece;
use promptd_model::Head;

/// The largest fragment.
const FRAGMENT: usize = 64 << 10;

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) bytes: Bytes,
    /// It begins the message.
    pub(crate) first: bool,
    /// It ends the message.
    pub(crate) last: bool,
    /// The `seq` of the record that it begins, if it is one.
    pub(crate) record: Option<u64>,
}

/// The fragments of a whole message.
pub(crate) fn fragments(mut text: Bytes) -> impl Iterator<Item = Fragment> {
    let mut first = true;
    let mut over = false;
    std::iter::from_fn(move || {
        if std::mem::replace(&mut over, text.len() <= FRAGMENT) {
            return None;
        }
        let bytes = text.split_to(text.len().min(FRAGMENT));
        Some(Fragment {
            bytes,
            first: std::mem::take(&mut first),
            last: !text.has_remaining(),
            record: None,
        })
    })
}

/// Cuts pieces of the journal into fragments, one message for each line.
#[derive(Debug, Default)]
pub(crate) struct Fragmenter {
    scanner: Scanner,
    out: Collected,
}

#[derive(Debug, Default)]
struct Collected {
    /// What is in no fragment yet.
    text: BytesMut,
    /// A fragment of the line has been made.
    continues: bool,
    fragments: Vec<Fragment>,
    /// The `seq` of the current line, if it is a record.
    record: Option<u64>,
    /// The `seq` of the last record that has begun.
    seq: u64,
}

impl Fragmenter {
    /// The `seq` of the last record that has begun.
    pub(crate) fn seq(&self) -> u64 {
        self.out.seq
    }

    /// The last fragment was not the end of its message.
    pub(crate) fn is_in_line(&self) -> bool {
        self.out.continues
    }

    /// The fragments of the next piece.
    pub(crate) fn push(&mut self, piece: &Piece) -> Vec<Fragment> {
        self.out.text.reserve(piece.bytes.len());
        self.scanner.scan(&piece.bytes, &mut self.out);
        std::mem::take(&mut self.out.fragments)
    }
}

impl Records for Collected {
    fn begin(&mut self, head: Option<Head<'_>>, _line: &[u8]) {
        self.record = head.map(|head| head.seq);
        self.seq = self.record.unwrap_or(self.seq);
    }

    fn text(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
        // The last fragment is made at the end of the line.
        while self.text.len() > FRAGMENT {
            let whole = whole_characters(self.text.get(..FRAGMENT).unwrap_or_default());
            self.take(whole, false);
        }
    }

    fn end(&mut self) {
        self.take(self.text.len(), true);
    }
}

impl Collected {
    /// Makes fragments of the next bytes.
    ///
    /// The journal is JSON, hence UTF-8; a damaged line is repaired rather than left out, because clients close a connection
    /// that sends them anything else.
    fn take(&mut self, length: usize, last: bool) {
        let mut bytes = self.text.split_to(length).freeze();
        if std::str::from_utf8(&bytes).is_err() {
            bytes = String::from_utf8_lossy(&bytes).into_owned().into();
        }
        let begins = !std::mem::replace(&mut self.continues, !last);
        // What was repaired can be larger than a fragment.
        self.fragments.extend(fragments(bytes).map(|part| Fragment {
            first: part.first && begins,
            last: part.last && last,
            record: self.record.filter(|_| part.first && begins),
            bytes: part.bytes,
        }));
    }
}

/// How many of these bytes are whole characters: the last one may go on after them.
fn whole_characters(bytes: &[u8]) -> usize {
    /// The most bytes of a character before its last one.
    const UNFINISHED: usize = 3;
    let end = bytes.len().saturating_sub(UNFINISHED);
    let tail = bytes.get(end..).unwrap_or_default();
    let unfinished = tail.iter().rposition(|byte| *byte >= 0xC0).filter(|at| {
        let rest = tail.get(*at..).unwrap_or_default();
        std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none())
    });
    unfinished.map_or(bytes.len(), |at| end.saturating_add(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stream::framer::tests::pieces;
    use crate::api::stream::scan::tests::journal;
    use proptest::prelude::*;

    /// The messages that a client makes of the fragments.
    fn messages(fragments: impl IntoIterator<Item = Fragment>) -> Vec<Vec<u8>> {
        let (mut messages, mut message) = (Vec::new(), None);
        for fragment in fragments {
            assert_eq!(fragment.first, message.is_none(), "one message after the other");
            assert!(fragment.bytes.len() <= FRAGMENT);
            message.get_or_insert_with(Vec::new).extend_from_slice(&fragment.bytes);
            if fragment.last {
                messages.extend(message.take());
            }
        }
        assert_eq!(message, None, "all are complete");
        messages
    }

    #[test]
    fn a_text_of_any_size_is_one_message() {
        for size in [
            0,
            1,
            FRAGMENT - 1,
            FRAGMENT,
            FRAGMENT + 1,
            2 * FRAGMENT,
            3 * FRAGMENT + 7,
        ] {
            let text = vec![b'x'; size];
            assert_eq!(messages(fragments(text.clone().into())), [text]);
        }
    }

    /// What a client gets of the lines, piece by piece.
    fn received(text: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut fragmenter = Fragmenter::default();
        let found: Vec<Fragment> = pieces(text, sizes)
            .iter()
            .flat_map(|piece| fragmenter.push(piece))
            .collect();
        messages(found)
    }

    #[test]
    fn a_damaged_line_of_any_size_is_repaired() {
        for size in [10, FRAGMENT - 2, FRAGMENT - 1, FRAGMENT, 3 * FRAGMENT] {
            for damage in [&b"\xff"[..], b"\xe2\x82", b"\xf0\x9f\x98", &[0x80; 4], &[0xf0; 5]] {
                let line = [&vec![b'x'; size], damage, "€😀".repeat(FRAGMENT / 2).as_bytes()].concat();
                let expected = String::from_utf8_lossy(&line).into_owned();
                let text = [&line[..], b"\n"].concat();
                for cut in [7_000, 65_537] {
                    assert_eq!(
                        received(&text, &[cut]),
                        [expected.as_bytes()],
                        "{size} {damage:x?} {cut}"
                    );
                }
            }
        }
        let only_damage = [vec![0xff; 2 * FRAGMENT], b"\n".to_vec()].concat();
        let repaired = "\u{fffd}".repeat(2 * FRAGMENT);
        assert_eq!(received(&only_damage, &[9_000]), [repaired.as_bytes()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_cut_gives_the_same_messages(lengths in proptest::collection::vec(prop_oneof![4 => 0_usize..700, 1 => 0..4 * FRAGMENT], 0..12), sizes in proptest::collection::vec(1_usize..90_000, 1..9)) {
            let text = journal(&lengths);
            let mut fragmenter = Fragmenter::default();
            let found: Vec<Fragment> = pieces(&text, &sizes).iter().flat_map(|piece| fragmenter.push(piece)).collect();
            let expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(messages(found), expected);
        }
    }
}
