//! Reads a journal from any `seq`: complete lines only, in bounded memory.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;

use promptd_model::len64;
use promptd_model::parse_head;
use promptd_sys as sys;

/// Bytes per read: enough for a gigabyte per second, and little memory for a hundred readers.
const BLOCK: usize = if cfg!(test) { 8 << 10 } else { 256 << 10 };

/// Bytes that are read to parse the head of a line.
const HEAD: usize = 256;

/// The binary search ends at this distance; the rest is scanned line by line.
const SCAN_DISTANCE: u64 = 4 << 10;

/// A journal could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}; the session may have been deleted")]
pub struct ReadError {
    /// The journal.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl ReadError {
    /// Whether the journal is gone or damaged: trying again gives the same.
    pub fn is_lasting(&self) -> bool {
        is_lasting(&self.source)
    }
}

/// Whether a file of a session is gone or damaged. Else the disk or the machine has failed, and it can be read later.
pub fn is_lasting(error: &io::Error) -> bool {
    use ErrorKind::{
        InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied, UnexpectedEof,
    };
    let is_of_session = matches!(
        error.kind(),
        NotFound | InvalidData | InvalidInput | UnexpectedEof | PermissionDenied | NotADirectory | IsADirectory
    );
    // A link where the file was. Its kind is not stable in the standard library.
    is_of_session || error.raw_os_error().map(Errno::from_raw) == Some(Errno::ELOOP)
}

/// A cursor that is not in the journal.
#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// Records after the cursor are no longer kept.
    #[error("records after that cursor are no longer kept; the earliest is {earliest}")]
    Expired {
        /// The first `seq` that is kept.
        earliest: u64,
    },
    /// The cursor is ahead of the journal.
    #[error("the cursor is ahead of the journal, whose last record is {last}")]
    Ahead {
        /// The last `seq`.
        last: u64,
    },
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The result of a read: complete lines, or a part of a line that is larger than a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The journal's bytes.
    pub bytes: Bytes,
    /// The bytes start a line.
    pub starts_line: bool,
    /// The bytes end a line.
    pub ends_line: bool,
}

/// A cursor in a journal.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    pub(super) file: Arc<File>,
    /// The offset of the next piece.
    position: u64,
    /// A line larger than a block ends at this offset, so its parts can be returned.
    line_end: u64,
    starts_line: bool,
    /// The last read reached the end of the file.
    at_end: bool,
}

impl Reader {
    /// Opens a session's journal at its start.
    pub fn open(folder: &Path) -> Result<Self, ReadError> {
        let path = folder.join(super::FILE_NAME);
        match sys::open_own(&path, File::options().read(true)) {
            Ok(file) => Ok(Self {
                path,
                file: Arc::new(file),
                position: 0,
                line_end: 0,
                starts_line: true,
                at_end: false,
            }),
            Err(source) => Err(ReadError { path, source }),
        }
    }

    /// The offset of the next piece.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fails where the journal is shorter than this offset, up to which it was read before: somebody has cut it.
    pub fn check_length(&self, offset: u64) -> Result<(), ReadError> {
        let size = self.file.metadata().map_err(|source| self.error(source))?.len();
        if size >= offset {
            return Ok(());
        }
        let problem = format!("it was cut to {size} bytes, and had {offset}");
        Err(self.error(io::Error::new(ErrorKind::InvalidData, problem)))
    }

    /// Moves to an offset from [`Reader::position`] that is between two lines.
    pub fn set_position(&mut self, position: u64) {
        (self.position, self.line_end, self.starts_line) = (position, 0, true);
    }

    /// Whether the last read reached the end of the file: another read is useless before something is appended.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// The error if the line that begins at this offset is not a record.
    pub(super) fn damaged_error(&self, at: u64) -> ReadError {
        self.error(damaged(at))
    }

    pub(super) fn error(&self, source: io::Error) -> ReadError {
        ReadError {
            path: self.path.clone(),
            source,
        }
    }

    /// Moves to the record that follows `after`.
    pub fn seek(&mut self, after: u64) -> Result<(), SeekError> {
        let position = self.find(after).map_err(|source| self.error(source))??;
        self.set_position(position);
        Ok(())
    }

    fn find(&self, after: u64) -> io::Result<Result<u64, SeekError>> {
        let end = last_line_end(&self.file, self.file.metadata()?.len())?;
        let last = match last_record(&self.file, end)? {
            LastRecord::Empty => 0,
            LastRecord::Seq(seq) => seq,
            LastRecord::Damaged(at) => return Err(damaged(at)),
        };
        if after == last {
            return Ok(Ok(end));
        }
        if after > last {
            return Ok(Err(SeekError::Ahead { last }));
        }
        let earliest = seq_at(&self.file, 0)?;
        if earliest > after.saturating_add(1) {
            return Ok(Err(SeekError::Expired { earliest }));
        }
        let target = after.saturating_add(1);
        // INVARIANT: the line at `low` has a seq of at most `target`; every line that starts at or after `high` has more.
        let (mut low, mut high) = (0, end);
        while high.saturating_sub(low) > SCAN_DISTANCE {
            let middle = low + (high - low) / 2;
            match line_start_from(&self.file, middle, high)? {
                Some(start) if seq_at(&self.file, start)? <= target => low = start,
                Some(_) | None => high = middle,
            }
        }
        self.scan_from(low, target, end)
    }

    /// Scans line by line for a `seq`.
    fn scan_from(&self, mut start: u64, seq: u64, end: u64) -> io::Result<Result<u64, SeekError>> {
        while start < end {
            if seq_at(&self.file, start)? == seq {
                return Ok(Ok(start));
            }
            match line_start_from(&self.file, start.saturating_add(1), end)? {
                Some(next) => start = next,
                None => break,
            }
        }
        Err(damaged(start))
    }

    /// The next piece, or `None` at the end. Does not wait for more records, but may wait for the disk.
    pub fn read(&mut self) -> Result<Option<Piece>, ReadError> {
        let mut block = self.block().map_err(|source| self.error(source))?;
        block.resize(block.capacity(), 0);
        let read = read_some(&self.file, &mut block, self.position).map_err(|source| self.error(source))?;
        block.truncate(read);
        self.piece(block)
    }

    /// A buffer for the rest of the file, at most a block.
    fn block(&self) -> io::Result<BytesMut> {
        let left = self.file.metadata()?.len().saturating_sub(self.position);
        let left = usize::try_from(left).unwrap_or(BLOCK);
        Ok(BytesMut::with_capacity(left.min(BLOCK)))
    }

    /// Like [`Reader::read`], but returns `WouldBlock` instead of waiting for the disk.
    pub fn read_cached(&mut self) -> Result<Option<Piece>, ReadError> {
        let mut block = self.block().map_err(|source| self.error(source))?;
        let wanted = block.capacity();
        if wanted == 0 {
            return self.piece(block);
        }
        loop {
            match sys::pread_cached(&self.file, &mut block, self.position) {
                // Only a part is in the page cache.
                Ok(read) if read < wanted => return Err(self.error(ErrorKind::WouldBlock.into())),
                Ok(_) => return self.piece(block),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(self.error(source)),
            }
        }
    }

    /// Cuts a block at its last newline. For a line that is larger than a block, finds its end.
    fn piece(&mut self, mut block: BytesMut) -> Result<Option<Piece>, ReadError> {
        self.at_end = block.len() < BLOCK && self.position >= self.line_end;
        if block.is_empty() {
            return Ok(None);
        }
        if self.position < self.line_end {
            block.truncate(usize::try_from(self.line_end.saturating_sub(self.position)).unwrap_or(usize::MAX));
        } else if let Some(newline) = memchr::memrchr(b'\n', &block) {
            block.truncate(newline.saturating_add(1));
        } else if block.len() < BLOCK {
            // The line is incomplete: it is being written, or its writer died.
            return Ok(None);
        } else {
            let block_end = self.position.saturating_add(len64(&block));
            match newline_from(&self.file, block_end, u64::MAX).map_err(|source| self.error(source))? {
                Some(newline) => self.line_end = newline.saturating_add(1),
                None => return Ok(None),
            }
        }
        self.position = self.position.saturating_add(len64(&block));
        let starts_line = std::mem::replace(&mut self.starts_line, self.position >= self.line_end);
        Ok(Some(Piece {
            bytes: block.freeze(),
            starts_line,
            ends_line: self.starts_line,
        }))
    }
}

/// The last record of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastRecord {
    /// No record.
    Empty,
    /// The last record's `seq`.
    Seq(u64),
    /// The last line is not a record; this is its offset.
    Damaged(u64),
}

/// Where the last complete line ends: after the last newline before `size`.
pub(super) fn last_line_end(file: &File, size: u64) -> io::Result<u64> {
    Ok(last_newline(file, size)?.map_or(0, |newline| newline.saturating_add(1)))
}

/// The last record of complete lines that end at `end`.
pub(super) fn last_record(file: &File, end: u64) -> io::Result<LastRecord> {
    if end == 0 {
        return Ok(LastRecord::Empty);
    }
    let start = last_line_end(file, end.saturating_sub(1))?;
    match seq_at(file, start) {
        Ok(seq) => Ok(LastRecord::Seq(seq)),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(LastRecord::Damaged(start)),
        Err(error) => Err(error),
    }
}

fn last_newline(file: &File, before: u64) -> io::Result<Option<u64>> {
    let mut end = before;
    // A small block first: the last line is usually short.
    let mut block = vec![0; 4 << 10];
    while end > 0 {
        let start = end.saturating_sub(len64(&block));
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(block.len());
        let window = block.get_mut(..length).unwrap_or_default();
        file.read_exact_at(window, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', window) {
            return Ok(Some(start.saturating_add(u64::try_from(newline).unwrap_or(0))));
        }
        end = start;
        block.resize(BLOCK, 0);
    }
    Ok(None)
}

/// The first newline at or after `from` and before `limit`.
fn newline_from(file: &File, from: u64, limit: u64) -> io::Result<Option<u64>> {
    let mut start = from;
    let mut block = vec![0; 4 << 10];
    while start < limit {
        let read = read_some(file, &mut block, start)?;
        let window = block.get(..read).unwrap_or_default();
        if let Some(newline) = memchr::memchr(b'\n', window) {
            let at = start.saturating_add(u64::try_from(newline).unwrap_or(0));
            return Ok((at < limit).then_some(at));
        }
        if read == 0 {
            break;
        }
        start = start.saturating_add(len64(window));
        block.resize(BLOCK, 0);
    }
    Ok(None)
}

/// The first line that starts at or after `from` and before `limit`.
fn line_start_from(file: &File, from: u64, limit: u64) -> io::Result<Option<u64>> {
    let Some(before) = from.checked_sub(1) else {
        return Ok(Some(0));
    };
    let start = newline_from(file, before, limit)?.map(|newline| newline.saturating_add(1));
    Ok(start.filter(|start| *start < limit))
}

/// The `seq` of the line that starts at `start`.
fn seq_at(file: &File, start: u64) -> io::Result<u64> {
    let mut head = [0; HEAD];
    let read = read_some(file, &mut head, start)?;
    parse_head(head.get(..read).unwrap_or_default())
        .map(|head| head.seq)
        .ok_or_else(|| damaged(start))
}

fn read_some(file: &File, block: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(block, offset) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn damaged(at: u64) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("no record begins at byte {at}"))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
