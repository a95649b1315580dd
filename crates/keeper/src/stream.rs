//! Reads one of the agent's output files.
//!
//! The file is the buffer: bytes that are not in the journal yet are read again, so the only state is a position.
//!
//! The agent or one of its commands can truncate the file (`tee /dev/stderr` does). To detect that reliably, each file
//! begins with a hole, and the agent appends after it. If the start of the file is not zero any more, the file was
//! truncated and written again. After a first truncation there is no hole; then the last bytes before the position are
//! compared at each read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use promptd_model::Chunker;
use promptd_model::{MAX_CHUNK, Stream, StreamOffset, len64};
use promptd_sys as sys;

/// Bytes per read. More than the largest chunk, so that a long line is recognized.
pub(crate) const BLOCK: usize = 2 * MAX_CHUNK;

/// An unfinished line is recorded after this time: a progress bar, or a question without newline.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// Disk space is given back in steps of this size.
const PUNCH_STEP: u64 = 4 << 20;

/// The size of the hole: one block, so it takes no disk space.
pub(crate) const HOLE: u64 = 4 << 10;

/// How many bytes of the hole are checked.
const HOLE_PROBE: usize = 8;

/// How many bytes before the position are compared if there is no hole.
const OVERLAP: usize = 32;

/// An output file that is being read.
#[derive(Debug)]
pub(crate) struct StreamFile {
    pub(crate) stream: Stream,
    file: File,
    /// Where the next chunk starts in the file.
    position: u64,
    /// Where the stream starts in the file: after the hole, or at 0 if there is no hole any more.
    head: u64,
    /// Where the file starts in the turn's stream.
    base: u64,
    /// The largest known size.
    largest_size: u64,
    /// The last bytes before the position.
    overlap: Vec<u8>,
    /// Since when there is an unfinished line.
    unfinished_since: Option<Instant>,
    /// The offset up to which disk space was given back.
    punched: u64,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadResult {
    /// The buffer has new bytes.
    Bytes,
    /// The file was truncated: at least `lost` bytes are missing, and the stream continues at the offset `to`.
    Truncated { lost: u64, to: u64 },
    /// Nothing new.
    Nothing,
}

impl StreamFile {
    pub(crate) fn open(stream: Stream, path: &Path, offset: StreamOffset) -> io::Result<Self> {
        let file = sys::open_own(path, File::options().read(true).write(true))?;
        let head = if offset.truncated { 0 } else { HOLE };
        let position = head.saturating_add(offset.to.saturating_sub(offset.base));
        Ok(Self {
            stream,
            file,
            position,
            head,
            base: offset.base,
            largest_size: position,
            overlap: Vec::new(),
            unfinished_since: None,
            punched: 0,
        })
    }

    /// The file's size now.
    pub(crate) fn size(&self) -> u64 {
        self.file
            .metadata()
            .map_or(self.largest_size, |metadata| metadata.len())
    }

    /// Where the next chunk starts in the file.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything before `size` is in the journal, as far as the file still has it.
    pub(crate) fn has_reached(&self, size: u64) -> bool {
        self.position >= size.min(self.size())
    }

    /// Reads new bytes into `buffer`.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<ReadResult> {
        let size = self.size();
        let overlap = len64(&self.overlap);
        if size < self.position {
            return Ok(self.restart());
        }
        // Also if the size is unchanged: the file may have been written again with the same length.
        let new = usize::try_from(size.saturating_sub(self.position))
            .unwrap_or(BLOCK)
            .min(BLOCK);
        buffer.resize(new.saturating_add(self.overlap.len()), 0);
        let read = self.file.read_at(buffer, self.position.saturating_sub(overlap))?;
        buffer.truncate(read);
        // Checked after the read, so the bytes are surely those of the file that is followed.
        if !buffer.starts_with(&self.overlap) || (self.head > 0 && self.hole_is_filled()?) {
            return Ok(self.restart());
        }
        // Only now it is sure that the size is that of the same content.
        self.largest_size = self.largest_size.max(size);
        buffer.drain(..self.overlap.len());
        Ok(if buffer.is_empty() {
            ReadResult::Nothing
        } else {
            ReadResult::Bytes
        })
    }

    fn hole_is_filled(&self) -> io::Result<bool> {
        let mut probe = [0; HOLE_PROBE];
        let read = self.file.read_at(&mut probe, 0)?;
        Ok(probe.iter().take(read).any(|byte| *byte != 0))
    }

    fn restart(&mut self) -> ReadResult {
        let lost = self.largest_size.saturating_sub(self.position);
        self.base = self.offset_after(0);
        (self.position, self.head, self.largest_size, self.punched) = (0, 0, 0, 0);
        self.overlap.clear();
        self.unfinished_since = None;
        ReadResult::Truncated { lost, to: self.base }
    }

    /// Splits bytes into chunks; with `end`, including an unfinished line.
    pub(crate) fn chunks<'a>(&self, bytes: &'a [u8], end: bool, now: Instant) -> Chunker<'a> {
        let overdue = self
            .unfinished_since
            .is_some_and(|since| now.duration_since(since) >= FLUSH_AFTER);
        Chunker::new(bytes, overdue || end)
    }

    /// The offset in the turn's stream after `taken` more bytes.
    pub(crate) fn offset_after(&self, taken: usize) -> u64 {
        let taken = u64::try_from(taken).unwrap_or(u64::MAX);
        let after_head = self.position.saturating_sub(self.head);
        self.base.saturating_add(after_head).saturating_add(taken)
    }

    /// Skips the rest of the file; answers how many bytes that is.
    pub(crate) fn skip(&mut self) -> u64 {
        let size = self.size();
        let skipped = size.saturating_sub(self.position);
        self.position = size.max(self.position);
        self.overlap.clear();
        self.unfinished_since = None;
        skipped
    }

    /// Moves the position: the first `taken` of `bytes` are in the journal.
    pub(crate) fn advance(&mut self, bytes: &[u8], taken: usize, now: Instant) {
        let (done, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        self.position = self.position.saturating_add(len64(done));
        if self.head == 0 {
            let last = done.get(done.len().saturating_sub(OVERLAP)..).unwrap_or(done);
            self.overlap.extend_from_slice(last);
            self.overlap.drain(..self.overlap.len().saturating_sub(OVERLAP));
        }
        let still_unfinished = taken == 0 && !rest.is_empty();
        self.unfinished_since = match self.unfinished_since {
            Some(since) if still_unfinished => Some(since),
            Some(_) | None => (!rest.is_empty()).then_some(now),
        };
        if self.position.saturating_sub(self.punched) >= PUNCH_STEP {
            self.punched = self.position.saturating_sub(len64(&self.overlap));
            // Some file systems do not support this; then the file keeps its space until the turn ends.
            let _given_back = sys::punch_hole(&self.file, HOLE, self.punched);
        }
    }

    /// When an unfinished line has to be recorded.
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.unfinished_since.map(|since| since + FLUSH_AFTER)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
