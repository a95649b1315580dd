//! Output records to the lines of a stream; pure. The way back from what [`super::Chunker`] does.

use super::codec::decode_output;
use crate::Output;

/// The most bytes of one line that are put together; longer ones are data, and no event of any agent.
const LONGEST_LINE: usize = 16 << 20;

/// Puts the chunks of one stream together.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    line: Vec<u8>,
    /// The beginning of this line has been given, because it is too long.
    long: bool,
}

/// A line without its newline; or a piece of one that is too long to be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The line begins here.
    pub begins: bool,
    /// The line ends here.
    pub ends: bool,
}

impl Part {
    /// Whether it is a whole line.
    pub fn is_whole(&self) -> bool {
        self.begins && self.ends
    }
}

impl Assembler {
    /// Takes the next chunk; gives the line that it ends, or a piece of a line that is too long.
    pub fn push(&mut self, output: &Output) -> Option<Part> {
        decode_output(output, &mut self.line);
        if output.eol {
            // The newline that ends the line is no part of it.
            self.line.pop();
            return Some(self.part(true));
        }
        let due = !self.line.is_empty() && (self.long || self.line.len() >= LONGEST_LINE);
        due.then(|| self.part(false))
    }

    /// Nothing more will come; gives what no newline has ended, if there is something.
    pub fn finish(&mut self) -> Option<Part> {
        let due = !self.line.is_empty();
        let part = due.then(|| self.part(true));
        self.long = false;
        part
    }

    fn part(&mut self, ends: bool) -> Part {
        let begins = !std::mem::replace(&mut self.long, !ends);
        Part {
            bytes: std::mem::take(&mut self.line),
            begins,
            ends,
        }
    }

    /// How many bytes wait for the end of their line.
    pub fn held(&self) -> usize {
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

    fn part(bytes: &[u8], begins: bool, ends: bool) -> Part {
        let bytes = bytes.to_vec();
        Part { bytes, begins, ends }
    }

    #[test]
    fn a_line_comes_with_its_end() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(&chunk(b"a\xff", false)), None);
        assert_eq!(assembler.push(&chunk(b"b", true)), Some(part(b"a\xffb", true, true)));
        assert_eq!(assembler.push(&chunk(b"", true)), Some(part(b"", true, true)));
        assert_eq!(assembler.finish(), None);
        assert_eq!(assembler.push(&chunk(b"last", false)), None);
        assert_eq!(assembler.held(), 4);
        assert_eq!(assembler.finish(), Some(part(b"last", true, true)));
        assert_eq!(assembler.finish(), None);
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_pieces_and_the_next_is_whole_again() {
        let mut assembler = Assembler::default();
        let block = vec![b'x'; LONGEST_LINE / 2];
        assert_eq!(assembler.push(&chunk(&block, false)), None);
        let first = assembler.push(&chunk(&block, false)).unwrap();
        assert_eq!(
            (first.bytes.len(), first.begins, first.ends),
            (LONGEST_LINE, true, false)
        );
        assert_eq!(assembler.push(&chunk(b"y", false)), Some(part(b"y", false, false)));
        assert_eq!(assembler.push(&chunk(b"", true)), Some(part(b"", false, true)));
        assert_eq!(assembler.push(&chunk(b"z", true)), Some(part(b"z", true, true)));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_wherever_they_were_cut(text in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..400), cuts in proptest::collection::vec(1_usize..60, 1..6)) {
            let (mut assembler, mut lines, mut rest) = (Assembler::default(), Vec::new(), &text[..]);
            for size in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                for piece in Chunker::new(piece, true) {
                    lines.extend(assembler.push(&output_of(&piece, 0)));
                }
                rest = behind;
            }
            lines.extend(assembler.finish());
            prop_assert!(lines.iter().all(Part::is_whole));
            let expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            let (last, ended) = expected.split_last().unwrap();
            let expected: Vec<Vec<u8>> = ended.iter().copied().chain((!last.is_empty()).then_some(*last)).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(lines.into_iter().map(|line| line.bytes).collect::<Vec<_>>(), expected);
        }
    }
}
