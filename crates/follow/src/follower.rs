//! A reader that can wait for more records.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::watcher::{Watch, Watcher};
use promptd_journal::{MaskedReader, Piece, ReadError, SeekError};
use promptd_mask::Masker;

/// A cursor that can wait for more records.
#[derive(Debug)]
pub struct Follower {
    reader: Option<MaskedReader>,
    watch: Watch,
}

impl Follower {
    /// Opens a session's journal after the record `after`. Without a masker the journal is not masked.
    pub fn open(
        watcher: &Arc<Watcher>,
        folder: &Path,
        after: u64,
        masker: Option<Arc<Masker>>,
    ) -> Result<Self, SeekError> {
        let mut reader = MaskedReader::open(folder, masker)?;
        // The watch comes first: a record that is appended in between causes an extra wake-up, and is not missed.
        let watch = watcher.watch(&folder.join(promptd_journal::FILE_NAME));
        reader.seek(after)?;
        Ok(Self {
            reader: Some(reader),
            watch,
        })
    }

    /// Changes the masker for the following lines. May only be called between two lines.
    pub fn mask_with(&mut self, masker: Option<Arc<Masker>>) -> Result<(), ReadError> {
        self.reader.as_mut().map_or(Ok(()), |reader| reader.mask_with(masker))
    }

    /// The next piece, or `None` at the journal's end.
    ///
    /// Reads from the page cache directly. A read that would wait for the disk runs on a blocking thread.
    pub async fn read(&mut self) -> Result<Option<Piece>, ReadError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        match reader.read_cached() {
            Err(error) if error.source.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
        let Some(mut reader) = self.reader.take() else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let piece = reader.read();
            (reader, piece)
        });
        // If the thread panics, the reader is lost, and this follower ends.
        let Ok((reader, piece)) = read.await else {
            return Ok(None);
        };
        self.reader = Some(reader);
        piece
    }

    /// Whether a read before the next [`Follower::changed`] is useless.
    pub fn at_end(&self) -> bool {
        self.reader.as_ref().is_some_and(MaskedReader::at_end)
    }

    /// Waits until there may be more records.
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// Waits for the next piece.
    pub async fn next(&mut self) -> Result<Piece, ReadError> {
        loop {
            if let Some(piece) = self.read().await? {
                return Ok(piece);
            }
            self.changed().await;
        }
    }

    /// The offset of the next piece.
    pub fn position(&self) -> u64 {
        self.reader.as_ref().map_or(0, MaskedReader::position)
    }
}
