//! What a batch adds to each text.

use super::super::Line;
use super::super::text::{self, Texts};
use promptd_model::Stream;

/// What a batch has of one stream.
#[derive(Default)]
pub(super) struct Chunk<'a> {
    /// The text.
    pub(super) text: String,
    /// The first record's place, and the last record.
    pub(super) records: Option<(u64, &'a Line)>,
}

/// What a batch adds to both texts.
pub(super) fn of(lines: &[Line]) -> [(Stream, Chunk<'_>); 2] {
    let mut chunks = Stream::BOTH.map(|stream| (stream, Chunk::default()));
    let mut texts = Texts::default();
    for line in lines {
        let of = text::text_of(line);
        for (_, chunk) in chunks.iter_mut().filter(|(stream, _)| of == Some(*stream)) {
            let first = chunk.records.map_or(line.seq, |(first, _)| first);
            chunk.records = Some((first, line));
        }
        texts.take(line, &mut |stream, text| append(&mut chunks, stream, text));
    }
    texts.finish(&mut |stream, text| append(&mut chunks, stream, text));
    chunks
}

fn append(chunks: &mut [(Stream, Chunk<'_>)], stream: Stream, text: &str) {
    if let Some((_, chunk)) = chunks.iter_mut().find(|(of, _)| *of == stream) {
        chunk.text.push_str(text);
    }
}
