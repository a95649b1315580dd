//! Reads masked records of the journal, line by line.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::kinds::Line;
use promptd_journal::{MaskedReader, ReadError, SeekError};
use promptd_mask::Masker;
use promptd_model::parse_head;

/// Reads one line after another.
#[derive(Debug)]
pub(super) struct JournalLines {
    reader: MaskedReader,
    /// Bytes that were read and not returned yet.
    piece: Bytes,
    /// The start of a line that is larger than a piece.
    line_start: BytesMut,
    /// The first kept record, if the requested one was deleted.
    earliest: Option<u64>,
}

impl JournalLines {
    /// Opens the journal after the record `after`. If the next records were deleted, starts at the first kept one.
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
            line_start: BytesMut::new(),
            earliest,
        })
    }

    /// The first kept record, if the requested one was deleted.
    pub(super) fn earliest(&self) -> Option<u64> {
        self.earliest
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            while let Some(newline) = memchr::memchr(b'\n', &self.piece) {
                let mut text = self.piece.split_to(newline.saturating_add(1));
                text.truncate(newline);
                if !self.line_start.is_empty() {
                    self.line_start.extend_from_slice(&text);
                    text = self.line_start.split().freeze();
                }
                // A damaged line is not delivered. The API reports it.
                if let Some(head) = parse_head(&text) {
                    return Ok(Some(Line { seq: head.seq, text }));
                }
            }
            self.line_start.extend_from_slice(&std::mem::take(&mut self.piece));
            match self.reader.read()? {
                Some(piece) => self.piece = piece.bytes,
                None => return Ok(None),
            }
        }
    }
}
