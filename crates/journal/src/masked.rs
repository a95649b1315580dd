//! A reader of a journal that shows no secret; without a masker it is the plain reader.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::masked_lines::{MaskedLines, RUN_UP, is_of_a_stream};
use super::reader::{Piece, ReadError, Reader, SeekError, last_line_end};
use promptd_mask::Masker;
use promptd_model::len64;

/// A cursor in a journal that gives what may be shown of it.
///
/// A line that is larger than a block is given whole where there is a masker, because a secret may lie anywhere in
/// it: such a reader takes the memory of one line.
#[derive(Debug)]
pub struct MaskedReader {
    reader: Reader,
    masking: Option<Masking>,
}

#[derive(Debug)]
struct Masking {
    lines: MaskedLines,
    /// The beginning of a line that is larger than a block.
    long: BytesMut,
}

impl MaskedReader {
    /// Opens a session's journal, standing at its beginning.
    pub fn open(folder: &Path, masker: Option<Arc<Masker>>) -> Result<Self, ReadError> {
        let masking = masker.map(Masking::new);
        let reader = Reader::open(folder)?;
        Ok(Self { reader, masking })
    }

    /// Hides other secrets from here on, where they have changed. To be called between two lines.
    pub fn mask_with(&mut self, masker: Option<Arc<Masker>>) -> Result<(), ReadError> {
        let is_same = match (&self.masking, &masker) {
            (Some(masking), Some(masker)) => masking.lines.is_by(masker),
            (known, wanted) => known.is_none() && wanted.is_none(),
        };
        if is_same {
            return Ok(());
        }
        let position = self.position();
        self.masking = masker.map(Masking::new);
        self.set_position(position)
    }

    /// Goes to the record that follows `after`.
    pub fn seek(&mut self, after: u64) -> Result<(), SeekError> {
        self.reader.seek(after)?;
        Ok(self.run_up(self.reader.position())?)
    }

    /// Goes to an offset that [`MaskedReader::position`] gave.
    pub fn set_position(&mut self, position: u64) -> Result<(), ReadError> {
        self.reader.set_position(position);
        self.run_up(position)
    }

    /// Reads what lies shortly before `position`, to know of lines that are not whole there.
    fn run_up(&mut self, position: u64) -> Result<(), ReadError> {
        let Some(masking) = &mut self.masking else {
            return Ok(());
        };
        masking.lines.clear();
        masking.long.clear();
        let begin = |file: &File| last_line_end(file, position.saturating_sub(RUN_UP));
        let begin = begin(&self.reader.file).map_err(|source| self.reader.error(source))?;
        self.reader.set_position(begin);
        let mut skipped = false;
        while self.reader.position() < position
            && let Some(mut piece) = self.reader.read()?
        {
            let at = self.reader.position().saturating_sub(len64(&piece.bytes));
            let wanted = usize::try_from(position.saturating_sub(at)).unwrap_or(usize::MAX);
            piece.bytes.truncate(wanted);
            if piece.starts_line {
                // A prompt of many megabytes is not put together for nothing.
                skipped = !piece.ends_line && !is_of_a_stream(&piece.bytes);
            }
            if !skipped {
                masking.piece(piece, self.reader.position().min(position));
            }
        }
        masking.long.clear();
        self.reader.set_position(position);
        Ok(())
    }

    /// The next piece, or `None` at the end; never waits for more records, but perhaps for the disk.
    pub fn read(&mut self) -> Result<Option<Piece>, ReadError> {
        self.read_with(Reader::read)
    }

    /// Like [`MaskedReader::read`], but answers `Err(WouldBlock)` instead of waiting for the disk.
    pub fn read_cached(&mut self) -> Result<Option<Piece>, ReadError> {
        self.read_with(Reader::read_cached)
    }

    fn read_with(
        &mut self,
        read: impl Fn(&mut Reader) -> Result<Option<Piece>, ReadError>,
    ) -> Result<Option<Piece>, ReadError> {
        loop {
            let piece = read(&mut self.reader)?;
            let (Some(masking), Some(piece)) = (&mut self.masking, &piece) else {
                return Ok(piece);
            };
            if let Some(bytes) = masking.piece(piece.clone(), self.reader.position()) {
                return Ok(Some(Piece {
                    bytes,
                    starts_line: true,
                    ends_line: true,
                }));
            }
        }
    }

    /// The offset of the next piece.
    pub fn position(&self) -> u64 {
        let held = self.masking.as_ref().map_or(0, |masking| len64(&masking.long));
        self.reader.position().saturating_sub(held)
    }

    /// Whether the last piece reached the end that the file had then.
    pub fn at_end(&self) -> bool {
        self.reader.at_end() && self.masking.as_ref().is_none_or(|masking| masking.long.is_empty())
    }
}

impl Masking {
    fn new(masker: Arc<Masker>) -> Self {
        Self {
            lines: MaskedLines::new(masker),
            long: BytesMut::new(),
        }
    }

    /// What may be shown of a piece, which ends at `end`; `None` as long as its line is not whole.
    fn piece(&mut self, piece: Piece, end: u64) -> Option<Bytes> {
        let lines = if piece.starts_line && piece.ends_line {
            piece.bytes
        } else {
            self.long.extend_from_slice(&piece.bytes);
            if !piece.ends_line {
                return None;
            }
            self.long.split().freeze()
        };
        let at = end.saturating_sub(len64(&lines));
        Some(self.lines.mask(lines, at))
    }
}

#[cfg(test)]
#[path = "masked_tests.rs"]
mod tests;
