//! A stretch of the journal, line by line, as it may leave the house.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::kinds::Line;
use promptd_journal::{MaskedReader, ReadError, SeekError};
use promptd_mask::Masker;
use promptd_model::parse_head;

/// A cursor that gives one line after the other.
#[derive(Debug)]
pub(super) struct Lines {
    reader: MaskedReader,
    /// What has been read and not been given yet: whole lines.
    piece: Bytes,
    /// The beginning of a line that is larger than a piece.
    begun: BytesMut,
    /// Records before this one are not kept any more, though they were asked for.
    earliest: Option<u64>,
}

impl Lines {
    /// Stands behind the record `after`, or, where records behind it are not kept any more, before the first that is.
    pub(super) fn open(folder: &Path, masker: Option<Arc<Masker>>, after: u64) -> Result<Self, SeekError> {
        let mut reader = MaskedReader::open(folder, masker)?;
        let earliest = match reader.seek(after) {
            Err(SeekError::Expired { earliest }) => Some(earliest),
            found => found.map(|()| None)?,
        };
        if let Some(earliest) = earliest {
            reader.seek(earliest.saturating_sub(1))?;
        }
        Ok(Self {
            reader,
            piece: Bytes::new(),
            begun: BytesMut::new(),
            earliest,
        })
    }

    /// The first record that is kept, where the one that was asked for is not.
    pub(super) fn earliest(&self) -> Option<u64> {
        self.earliest
    }

    /// The next line that is a record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            while let Some(newline) = memchr::memchr(b'\n', &self.piece) {
                let mut text = self.piece.split_to(newline.saturating_add(1));
                text.truncate(newline);
                if !self.begun.is_empty() {
                    self.begun.extend_from_slice(&text);
                    text = self.begun.split().freeze();
                }
                // What is no record has no place among records; the API shows it for what it is.
                if let Some(head) = parse_head(&text) {
                    return Ok(Some(Line { seq: head.seq, text }));
                }
            }
            self.begun.extend_from_slice(&std::mem::take(&mut self.piece));
            match self.reader.read()? {
                Some(piece) => self.piece = piece.bytes,
                None => return Ok(None),
            }
        }
    }
}
