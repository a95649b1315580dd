//! A stream of bytes to the chunks that become output records; pure.

use crate::MAX_CHUNK;

/// A piece of a stream for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The bytes, without the newline that `eol` stands for.
    pub bytes: &'a [u8],
    /// A newline follows in the stream.
    pub eol: bool,
}

impl Chunk<'_> {
    /// How many bytes of the stream this is.
    pub fn stream_len(&self) -> usize {
        self.bytes.len().saturating_add(usize::from(self.eol))
    }
}

/// Cuts bytes that follow each other in a stream into chunks: one per line, several for a long line.
#[derive(Clone, Debug)]
pub struct Chunker<'a> {
    rest: &'a [u8],
    /// Also give what does not end a line yet.
    flush: bool,
}

impl<'a> Chunker<'a> {
    /// With `flush`, everything in `bytes` comes out; else an unfinished last line shorter than a chunk stays.
    pub fn new(bytes: &'a [u8], flush: bool) -> Self {
        Self { rest: bytes, flush }
    }

    fn take(&mut self, length: usize, eol: bool) -> Option<Chunk<'a>> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = if eol { rest.get(1..)? } else { rest };
        Some(Chunk { bytes, eol })
    }
}

impl<'a> Iterator for Chunker<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        // A newline just behind a full chunk still belongs to it.
        let window = self.rest.get(..=MAX_CHUNK).unwrap_or(self.rest);
        match memchr::memchr(b'\n', window) {
            Some(end) => self.take(end, true),
            None if self.rest.len() > MAX_CHUNK => self.take(whole_characters(self.rest, MAX_CHUNK), false),
            None if self.flush && !self.rest.is_empty() => {
                // A character of which only the beginning has come gets a chunk of its own, so that the text
                // before it stays text.
                self.take(whole_characters(self.rest, self.rest.len()), false)
            }
            None => None,
        }
    }
}

/// The largest length up to `limit` that cuts no UTF-8 character in two; `limit` when the bytes are not UTF-8
/// there anyway.
fn whole_characters(bytes: &[u8], limit: usize) -> usize {
    let head = bytes.get(..limit).unwrap_or(bytes);
    (1..=3)
        .filter_map(|back| Some((back, *head.get(head.len().checked_sub(back)?)?)))
        .find(|(_, byte)| *byte >= 0xC0)
        .filter(|(back, byte)| *back < character_len(*byte) && head.len() > *back)
        .map_or(head.len(), |(back, _)| head.len().saturating_sub(back))
}

fn character_len(first: u8) -> usize {
    match first {
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
        _ => 1,
    }
}

/// The lines of a piece that holds whole lines.
pub fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest)?;
        let (line, behind) = rest.split_at_checked(end)?;
        rest = behind.get(1..)?;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(bytes: &[u8], flush: bool) -> Vec<(Vec<u8>, bool)> {
        Chunker::new(bytes, flush)
            .map(|chunk| (chunk.bytes.to_vec(), chunk.eol))
            .collect()
    }

    #[test]
    fn an_unfinished_line_waits_until_it_is_flushed() {
        assert_eq!(chunks(b"a\nb", false), [(b"a".to_vec(), true)]);
        assert_eq!(
            chunks(b"a\n\nb", true),
            [(b"a".to_vec(), true), (vec![], true), (b"b".to_vec(), false)]
        );
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let mut line = "x".repeat(MAX_CHUNK - 1);
        line.push_str("äb\n");
        let chunks = chunks(line.as_bytes(), false);
        assert_eq!(
            chunks
                .iter()
                .map(|(bytes, eol)| (bytes.len(), *eol))
                .collect::<Vec<_>>(),
            [(MAX_CHUNK - 1, false), (3, true)]
        );
        assert!(chunks.iter().all(|(bytes, _)| std::str::from_utf8(bytes).is_ok()));
    }

    #[test]
    fn half_a_character_does_not_spoil_the_text_before_it() {
        assert_eq!(
            chunks(b"ab\xC3", true),
            [(b"ab".to_vec(), false), (b"\xC3".to_vec(), false)]
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_added(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let mut back = Vec::new();
            for chunk in Chunker::new(&bytes, true) {
                back.extend_from_slice(chunk.bytes);
                if chunk.eol { back.push(b'\n'); }
            }
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn text_stays_text_wherever_it_is_split(text in "\\PC{0,3000}") {
            let long = text.repeat(1 + MAX_CHUNK / (text.len() + 1));
            for chunk in Chunker::new(long.as_bytes(), true) {
                prop_assert!(std::str::from_utf8(chunk.bytes).is_ok());
                prop_assert!(chunk.bytes.len() <= MAX_CHUNK);
            }
        }
    }
}
