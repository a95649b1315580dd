//! Splits a stream of bytes into the chunks of output records.

use crate::limits::MAX_CHUNK;

/// The part of a stream that goes into one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The bytes without the final newline.
    pub bytes: &'a [u8],
    /// A newline follows the bytes in the stream.
    pub eol: bool,
}

impl Chunk<'_> {
    /// Length in the stream, including the newline.
    pub fn stream_len(&self) -> usize {
        self.bytes.len().saturating_add(usize::from(self.eol))
    }
}

/// Splits consecutive bytes of a stream into chunks: one per line, several for a long line.
#[derive(Clone, Debug)]
pub struct Chunker<'a> {
    rest: &'a [u8],
    /// Also return an unfinished last line.
    flush: bool,
}

impl<'a> Chunker<'a> {
    /// With `flush`, all bytes are returned. Without it, an unfinished last line shorter than a chunk is kept back.
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
        // A newline directly after a full chunk still belongs to the chunk.
        let window = self.rest.get(..=MAX_CHUNK).unwrap_or(self.rest);
        match memchr::memchr(b'\n', window) {
            Some(end) => self.take(end, true),
            None if self.rest.len() > MAX_CHUNK => self.take(whole_characters(self.rest, MAX_CHUNK), false),
            None if self.flush && !self.rest.is_empty() => {
                // An incomplete character gets its own chunk, so that the text before it is stored as
                // text.
                self.take(whole_characters(self.rest, self.rest.len()), false)
            }
            None => None,
        }
    }
}

/// The largest length up to `limit` that does not split a UTF-8 character; `limit` if the bytes are not UTF-8
/// there.
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

/// The complete lines of a buffer, without their newlines.
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
    fn unfinished_line_is_returned_only_with_flush() {
        assert_eq!(chunks(b"a\nb", false), [(b"a".to_vec(), true)]);
        assert_eq!(
            chunks(b"a\n\nb", true),
            [(b"a".to_vec(), true), (vec![], true), (b"b".to_vec(), false)]
        );
    }

    #[test]
    fn long_line_is_split_between_characters() {
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
    fn incomplete_character_gets_its_own_chunk() {
        assert_eq!(
            chunks(b"ab\xC3", true),
            [(b"ab".to_vec(), false), (b"\xC3".to_vec(), false)]
        );
    }

    proptest! {
        #[test]
        fn chunks_contain_exactly_the_input(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let mut back = Vec::new();
            for chunk in Chunker::new(&bytes, true) {
                back.extend_from_slice(chunk.bytes);
                if chunk.eol { back.push(b'\n'); }
            }
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn chunks_of_text_are_text(text in "\\PC{1,60}") {
            let long = text.repeat(1 + MAX_CHUNK / (text.len() + 1));
            for chunk in Chunker::new(long.as_bytes(), true) {
                prop_assert!(std::str::from_utf8(chunk.bytes).is_ok());
                prop_assert!(chunk.bytes.len() <= MAX_CHUNK);
            }
        }
    }
}
