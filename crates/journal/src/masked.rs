//! A reader that hides secrets. Without a masker it is the plain reader.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::line_masker::{CONTEXT, LineMasker, is_output};
use super::long_line::LongLine;
use super::reader::{Piece, ReadError, Reader, SeekError, last_line_end};
use promptd_mask::Masker;
use promptd_model::len64;

/// A cursor in a journal that hides secrets.
///
/// A line that is larger than a block is returned in pieces, with and without a masker.
#[derive(Debug)]
pub struct MaskedReader {
    reader: Reader,
    masking: Option<Masking>,
}

#[derive(Debug)]
struct Masking {
    lines: LineMasker,
    /// The start of a chunk of output that is larger than a block, because it is escaped or in base64.
    long: BytesMut,
    /// Any other line that is larger than a block.
    in_parts: Option<LongLine>,
}

impl MaskedReader {
    /// Opens a session's journal at its start.
    pub fn open(folder: &Path, masker: Option<Arc<Masker>>) -> Result<Self, ReadError> {
        let masking = masker.map(Masking::new);
        let reader = Reader::open(folder)?;
        Ok(Self { reader, masking })
    }

    /// Changes the masker for the following lines. May only be called between two lines.
    pub fn mask_with(&mut self, masker: Option<Arc<Masker>>) -> Result<(), ReadError> {
        let is_same = match (&self.masking, &masker) {
            (Some(masking), Some(masker)) => masking.lines.uses(masker),
            (known, wanted) => known.is_none() && wanted.is_none(),
        };
        if is_same {
            return Ok(());
        }
        let position = self.position();
        self.masking = masker.map(Masking::new);
        self.set_position(position)
    }

    /// Moves to the record that follows `after`.
    pub fn seek(&mut self, after: u64) -> Result<(), SeekError> {
        self.reader.seek(after)?;
        Ok(self.read_context(self.reader.position())?)
    }

    /// Moves to an offset from [`MaskedReader::position`].
    pub fn set_position(&mut self, position: u64) -> Result<(), ReadError> {
        self.reader.set_position(position);
        self.read_context(position)
    }

    /// Reads the records before `position`, to know about unfinished lines.
    fn read_context(&mut self, position: u64) -> Result<(), ReadError> {
        let Some(masking) = &mut self.masking else {
            return Ok(());
        };
        masking.lines.clear();
        masking.long.clear();
        masking.in_parts = None;
        let begin = |file: &File| last_line_end(file, position.saturating_sub(CONTEXT));
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
                // A prompt of many megabytes need not be collected.
                skipped = !piece.ends_line && !is_output(&piece.bytes);
            }
            if !skipped {
                masking.mask(piece, self.reader.position().min(position));
            }
        }
        masking.long.clear();
        self.reader.set_position(position);
        Ok(())
    }

    /// The next piece, or `None` at the end. Does not wait for more records, but may wait for the disk.
    pub fn read(&mut self) -> Result<Option<Piece>, ReadError> {
        self.read_with(Reader::read)
    }

    /// Like [`MaskedReader::read`], but returns `WouldBlock` instead of waiting for the disk.
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
            if let Some(piece) = masking.mask(piece.clone(), self.reader.position()) {
                return Ok(Some(piece));
            }
        }
    }

    /// The offset of the next piece.
    pub fn position(&self) -> u64 {
        let held = self.masking.as_ref().map_or(0, Masking::held);
        self.reader.position().saturating_sub(held)
    }

    /// Whether the last read reached the end of the file.
    pub fn at_end(&self) -> bool {
        self.reader.at_end() && self.masking.as_ref().is_none_or(|masking| masking.held() == 0)
    }
}

impl Masking {
    fn new(masker: Arc<Masker>) -> Self {
        Self {
            lines: LineMasker::new(masker),
            long: BytesMut::new(),
            in_parts: None,
        }
    }

    /// How many bytes of the journal are held back.
    fn held(&self) -> u64 {
        let in_parts = self.in_parts.as_ref().map_or(0, LongLine::pending);
        len64(&self.long).saturating_add(u64::try_from(in_parts).unwrap_or(u64::MAX))
    }

    /// Masks a piece that ends at `end`; `None` if more has to come first.
    fn mask(&mut self, piece: Piece, end: u64) -> Option<Piece> {
        if piece.starts_line && !piece.ends_line && !is_output(&piece.bytes) {
            self.in_parts = Some(LongLine::default());
        }
        if let Some(line) = &mut self.in_parts {
            let starts_line = !line.begun;
            let bytes = line.push(self.lines.masker(), &piece.bytes, piece.ends_line);
            let ends_line = piece.ends_line;
            self.in_parts.take_if(|_| ends_line);
            return (!bytes.is_empty()).then_some(Piece {
                bytes,
                starts_line,
                ends_line,
            });
        }
        let bytes = self.mask_lines(piece, end)?;
        Some(Piece {
            bytes,
            starts_line: true,
            ends_line: true,
        })
    }

    /// Masks complete lines; `None` if the line is not complete yet.
    fn mask_lines(&mut self, piece: Piece, end: u64) -> Option<Bytes> {
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
