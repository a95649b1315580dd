//! Joins the pieces of a journal to whole records, of any size.

use super::reader::Piece;
use promptd_model::{Head, parse_head, whole_lines};

/// Joins pieces to records. Of a record that is larger than a block, such as a long prompt, the parts are kept only where
/// somebody wants it.
#[derive(Debug, Default)]
pub struct RecordLines {
    /// The begun record that is wanted.
    long: Option<Vec<u8>>,
}

impl RecordLines {
    /// Gives each record that this piece ends to `take`, without its newline. `wants` is asked with the head of those that
    /// are larger than a block.
    pub fn push(&mut self, piece: &Piece, wants: impl FnOnce(Head<'_>) -> bool, mut take: impl FnMut(&[u8])) {
        if piece.starts_line && piece.ends_line {
            return whole_lines(&piece.bytes).for_each(take);
        }
        if piece.starts_line {
            self.long = parse_head(&piece.bytes).is_some_and(wants).then(Vec::new);
        }
        let Some(long) = &mut self.long else { return };
        long.extend_from_slice(&piece.bytes);
        if piece.ends_line {
            take(long.trim_ascii_end());
            self.long = None;
        }
    }
}

/// The heads of the records that begin in a piece.
pub fn heads(piece: &Piece) -> impl Iterator<Item = Head<'_>> {
    let whole = piece.starts_line && piece.ends_line;
    let long = (piece.starts_line && !whole).then(|| parse_head(&piece.bytes));
    let lines = whole.then(|| whole_lines(&piece.bytes).filter_map(parse_head));
    lines.into_iter().flatten().chain(long.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FILE_NAME, Reader};
    use promptd_sys::TemporaryFolder;

    #[test]
    fn records_larger_than_a_block_are_whole_where_they_are_wanted() {
        let folder = TemporaryFolder::new("record-lines").unwrap();
        let line = |seq: u32, kind: &str, size: usize| {
            let text = "x".repeat(size);
            format!(r#"{{"seq":{seq},"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"{kind}","text":"{text}"}}"#)
        };
        let lines = [
            line(1, "prompt", 3),
            line(2, "prompt", 20 << 10),
            line(3, "steer", 4),
            line(4, "steer", 30 << 10),
            line(5, "steer", 8 << 10),
            line(6, "exited", 5),
        ];
        std::fs::write(folder.join(FILE_NAME), format!("{}\n", lines.join("\n"))).unwrap();
        let mut reader = Reader::open(&folder).unwrap();
        let (mut records, mut taken, mut seen) = (RecordLines::default(), Vec::new(), Vec::new());
        while let Some(piece) = reader.read().unwrap() {
            seen.extend(heads(&piece).map(|head| head.seq));
            let wants = |head: Head<'_>| head.kind.name() == "steer";
            records.push(&piece, wants, |line| {
                taken.push(String::from_utf8(line.to_vec()).unwrap());
            });
        }
        let [first, _, rest @ ..] = &lines;
        assert!(taken.iter().eq(std::iter::once(first).chain(rest)));
        assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    }
}
