//! A reader that waits for what is not written yet.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::watcher::{Watch, Watcher};
use promptd_journal::{MaskedReader, Piece, ReadError, SeekError};
use promptd_mask::Masker;

/// A cursor that can wait.
#[derive(Debug)]
pub struct Follower {
    reader: Option<MaskedReader>,
    watch: Watch,
}

impl Follower {
    /// Opens a session's journal behind the record `after`; without a masker it gives the journal's very bytes.
    pub fn open(
        watcher: &Arc<Watcher>,
        folder: &Path,
        after: u64,
        masker: Option<Arc<Masker>>,
    ) -> Result<Self, SeekError> {
        let mut reader = MaskedReader::open(folder, masker)?;
        // The watch comes first: what is appended between the two wakes us once for nothing, instead of never.
        let watch = watcher.watch(&folder.join(promptd_journal::FILE_NAME));
        reader.seek(after)?;
        Ok(Self {
            reader: Some(reader),
            watch,
        })
    }

    /// Hides other secrets from here on, where they have changed. To be called between two lines.
    pub fn mask_with(&mut self, masker: Option<Arc<Masker>>) -> Result<(), ReadError> {
        self.reader.as_mut().map_or(Ok(()), |reader| reader.mask_with(masker))
    }

    /// The next piece, or `None` at the journal's end.
    ///
    /// Reads inline what the page cache holds; a read that must wait for the disk goes to a thread.
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
        // A thread that panicked has taken the reader along; then this follower is at its end.
        let Ok((reader, piece)) = read.await else {
            return Ok(None);
        };
        self.reader = Some(reader);
        piece
    }

    /// Whether there is nothing more to read before [`Follower::changed`] returns.
    pub fn at_end(&self) -> bool {
        self.reader.as_ref().is_some_and(MaskedReader::at_end)
    }

    /// Waits until there may be more.
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// The next piece, however long it takes to come.
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
