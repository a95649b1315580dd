//! Tests of [`super`].

use promptd_sys::TemporaryFolder;

use super::super::line_masker::tests::{Text, masker};
use super::*;
use crate::FILE_NAME;
use promptd_model::whole_lines;
use promptd_model::{Body, Prompt, Stream};

fn journal(name: &str, text: &[u8]) -> TemporaryFolder {
    let folder = TemporaryFolder::new(name).unwrap();
    std::fs::write(folder.join(FILE_NAME), text).unwrap();
    folder
}

fn rest(reader: &mut MaskedReader) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = reader.read().unwrap() {
        all.extend_from_slice(&piece.bytes);
    }
    all
}

/// Unfinished lines with more and less than a window between their chunks, and some very large records.
fn difficult() -> Text {
    let mut text = Text::default();
    let mut random = 7_u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % below
    };
    for _ in 0..240 {
        let chunk: &[u8] = [b"abc".as_slice(), b"abd", b"a", b"bcabd x", b"yabca"][usize::try_from(next(5)).unwrap()];
        match next(30) {
            0 => text.output(1, Stream::Stderr, &vec![b'x'; 700], true),
            1 => text.output(1, Stream::Stderr, &vec![1; 1_700], true),
            2 => text.output(1, Stream::Stdout, &[vec![2; 1_700], b"abca".to_vec()].concat(), false),
            3 => text.other(&Body::Prompt(Prompt {
                text: "abcabd \n".repeat(1_100),
                ..Prompt::default()
            })),
            _ => text.output(1 + next(2), Stream::Stdout, chunk, next(6) == 0),
        }
    }
    text
}

#[test]
fn masking_does_not_depend_on_the_start_of_reading() {
    let text = difficult();
    let folder = journal("begin", &text.bytes);
    let mut reader = MaskedReader::open(&folder, Some(masker(&["abcabd"]))).unwrap();
    let whole = rest(&mut reader);
    assert!(memchr::memmem::find(&whole, b"abcabd").is_none());
    let lines: Vec<&[u8]> = whole_lines(&whole).collect();
    let mut behind = whole.len();
    for (after, line) in lines.iter().enumerate().rev() {
        behind -= line.len() + 1;
        reader.seek(u64::try_from(after).unwrap()).unwrap();
        // The next records are enough: only they depend on earlier ones.
        let shown = reader.read().unwrap().unwrap();
        assert_eq!(shown.bytes, &whole[behind..behind + shown.bytes.len()], "after {after}");
    }
}

#[test]
fn without_masker_it_reads_like_the_plain_reader() {
    let text = difficult();
    let folder = journal("plain", &text.bytes);
    let (mut masked, mut plain) = (
        MaskedReader::open(&folder, None).unwrap(),
        Reader::open(&folder).unwrap(),
    );
    masked.seek(3).unwrap();
    plain.seek(3).unwrap();
    loop {
        let (one, other) = (masked.read_cached().unwrap(), plain.read_cached().unwrap());
        assert_eq!(one, other);
        assert_eq!((masked.position(), masked.at_end()), (plain.position(), plain.at_end()));
        if one.is_none() {
            break;
        }
    }
}

#[test]
fn positions_are_between_lines() {
    let text = difficult();
    let folder = journal("position", &text.bytes);
    let mut reader = MaskedReader::open(&folder, Some(masker(&["abcabd"]))).unwrap();
    let whole = rest(&mut reader);
    reader.seek(0).unwrap();
    let mut read = 0;
    while let Some(piece) = reader.read_cached().unwrap() {
        read += piece.bytes.len();
        if !piece.ends_line {
            continue;
        }
        assert!(piece.bytes.ends_with(b"\n"));
        let mut other = MaskedReader::open(&folder, Some(masker(&["abcabd"]))).unwrap();
        other.set_position(reader.position()).unwrap();
        let next = other.read().unwrap().map(|piece| piece.bytes).unwrap_or_default();
        assert_eq!(next, &whole[read..read + next.len()]);
    }
    assert_eq!((reader.position(), read), (len64(&text.bytes), whole.len()));
}

#[test]
fn new_masker_applies_to_all_following_lines() {
    let text = difficult();
    let folder = journal("changes", &text.bytes);
    let open = |masker: Option<Arc<Masker>>| MaskedReader::open(&folder, masker).unwrap();
    let mut reader = open(None);
    let mut masks = [Some(masker(&["abcabd"])), Some(masker(&["cabd x"])), None]
        .into_iter()
        .cycle();
    let mut changes = 0;
    while let Some(piece) = reader.read().unwrap() {
        if !piece.ends_line {
            continue;
        }
        let mask = masks.next().unwrap();
        reader.mask_with(mask.clone()).unwrap();
        let position = reader.position();
        reader.mask_with(mask.clone()).unwrap();
        assert_eq!(reader.position(), position);
        let mut alone = open(mask);
        alone.set_position(position).unwrap();
        assert!(rest(&mut alone) == rest(&mut reader), "at {position}");
        reader.set_position(position).unwrap();
        changes += 1;
    }
    assert!(changes > 6, "{changes}");
}
