//! The text that a batch adds to each stream.

use crate::kinds::common::{StreamTexts, text_of};
use crate::kinds::kind::Line;
use promptd_model::Stream;

/// The text that a batch adds to one stream.
#[derive(Default)]
pub(super) struct Chunk<'a> {
    /// The text.
    pub(super) text: String,
    /// The first record's `seq`, and the last record.
    pub(super) records: Option<(u64, &'a Line)>,
}

/// The text that a batch adds to both streams.
pub(super) fn of(lines: &[Line]) -> [(Stream, Chunk<'_>); 2] {
    let mut chunks = Stream::BOTH.map(|stream| (stream, Chunk::default()));
    let mut texts = StreamTexts::default();
    for line in lines {
        let of = text_of(line);
        for (_, chunk) in chunks.iter_mut().filter(|(stream, _)| of == Some(*stream)) {
            let first = chunk.records.map_or(line.seq, |(first, _)| first);
            chunk.records = Some((first, line));
        }
        texts.add(line, &mut |stream, text| append(&mut chunks, stream, text));
    }
    texts.finish(&mut |stream, text| append(&mut chunks, stream, text));
    chunks
}

fn append(chunks: &mut [(Stream, Chunk<'_>)], stream: Stream, text: &str) {
    if let Some((_, chunk)) = chunks.iter_mut().find(|(of, _)| *of == stream) {
        chunk.text.push_str(text);
    }
}
