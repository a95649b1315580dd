//! Joins output records into the lines of a stream: the inverse of [`super::Chunker`].

use super::body::Output;
use super::codec::decode_output;

/// Maximum bytes of a line that are buffered. No event of any agent is longer.
const MAX_LINE: usize = if cfg!(test) { 16 << 10 } else { 16 << 20 };

/// Joins the chunks of one stream.
#[derive(Clone, Debug, Default)]
pub struct LineAssembler {
    line: Vec<u8>,
    /// The start of this line has been returned already, because the line is too long.
    long: bool,
}

/// A line without its newline, or a part of a line that is longer than the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePart {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The line starts here.
    pub begins: bool,
    /// The line ends here.
    pub ends: bool,
}

impl LinePart {
    /// Whether it is a complete line.
    pub fn is_whole(&self) -> bool {
        self.begins && self.ends
    }
}

impl LineAssembler {
    /// Adds the next chunk; returns the line that it completes, or a part of a line that is too long.
    pub fn push(&mut self, output: &Output) -> Option<LinePart> {
        decode_output(output, &mut self.line);
        if output.eol {
            // `decode_output` has appended the newline.
            self.line.pop();
            return Some(self.part(true));
        }
        let due = !self.line.is_empty() && (self.long || self.line.len() >= MAX_LINE);
        due.then(|| self.part(false))
    }

    /// Returns the unfinished last line, if any, at the end of the stream.
    pub fn finish(&mut self) -> Option<LinePart> {
        let due = !self.line.is_empty();
        let part = due.then(|| self.part(true));
        self.long = false;
        part
    }

    fn part(&mut self, ends: bool) -> LinePart {
        let begins = !std::mem::replace(&mut self.long, !ends);
        LinePart {
            bytes: std::mem::take(&mut self.line),
            begins,
            ends,
        }
    }

    /// Bytes of the unfinished line.
    pub fn buffered(&self) -> usize {
        self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chunk, Chunker, output_of};
    use proptest::prelude::*;

    fn chunk(bytes: &[u8], eol: bool) -> Output {
        output_of(&Chunk { bytes, eol }, 0)
    }

    fn part(bytes: &[u8], begins: bool, ends: bool) -> LinePart {
        let bytes = bytes.to_vec();
        LinePart { bytes, begins, ends }
    }

    #[test]
    fn line_is_returned_when_it_is_complete() {
        let mut assembler = LineAssembler::default();
        assert_eq!(assembler.push(&chunk(b"a\xff", false)), None);
        assert_eq!(assembler.push(&chunk(b"b", true)), Some(part(b"a\xffb", true, true)));
        assert_eq!(assembler.push(&chunk(b"", true)), Some(part(b"", true, true)));
        assert_eq!(assembler.finish(), None);
        assert_eq!(assembler.push(&chunk(b"last", false)), None);
        assert_eq!(assembler.buffered(), 4);
        assert_eq!(assembler.finish(), Some(part(b"last", true, true)));
        assert_eq!(assembler.finish(), None);
    }

    #[test]
    fn too_long_line_is_returned_in_parts() {
        let mut assembler = LineAssembler::default();
        let block = vec![b'x'; MAX_LINE / 2];
        assert_eq!(assembler.push(&chunk(&block, false)), None);
        let first = assembler.push(&chunk(&block, false)).unwrap();
        assert_eq!((first.bytes.len(), first.begins, first.ends), (MAX_LINE, true, false));
        assert_eq!(assembler.push(&chunk(b"y", false)), Some(part(b"y", false, false)));
        assert_eq!(assembler.push(&chunk(b"", true)), Some(part(b"", false, true)));
        assert_eq!(assembler.push(&chunk(b"z", true)), Some(part(b"z", true, true)));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_chunk_borders(text in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..400), cuts in proptest::collection::vec(1_usize..60, 1..6)) {
            let (mut assembler, mut lines, mut rest) = (LineAssembler::default(), Vec::new(), &text[..]);
            for size in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                for piece in Chunker::new(piece, true) {
                    lines.extend(assembler.push(&output_of(&piece, 0)));
                }
                rest = behind;
            }
            lines.extend(assembler.finish());
            prop_assert!(lines.iter().all(LinePart::is_whole));
            let expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            let (last, ended) = expected.split_last().unwrap();
            let expected: Vec<Vec<u8>> = ended.iter().copied().chain((!last.is_empty()).then_some(*last)).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(lines.into_iter().map(|line| line.bytes).collect::<Vec<_>>(), expected);
        }
    }
}
