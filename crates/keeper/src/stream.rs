//! Following one of the agent's output files.
//!
//! The file is the buffer: what is not in the journal yet, an unfinished line for instance, is simply read
//! again, so that a position is all there is to lose.
//!
//! The agent, or one of its commands, can truncate the file (`tee /dev/stderr` does). To notice that for certain,
//! whoever looks and whenever, each file begins with a hole: the agent appends behind it, and where its head is no
//! longer zero, the file was cut and written anew. Behind a first truncation there is no such mark any more; then the
//! last bytes before the position are compared on each read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use promptd_model::Chunker;
use promptd_model::{MAX_CHUNK, Stream, StreamOffset, len64};
use promptd_sys as sys;

/// One read: more than the largest chunk, or a long line would never be seen to be one.
pub(super) const READ: usize = 2 * MAX_CHUNK;

/// A line that is not finished goes out after this long: progress bars, questions without a newline.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// Disk is given back in steps of this size.
const PUNCH: u64 = 4 << 20;

/// The size of the hole at the head: a block, so that it takes no room.
pub(super) const HOLE: u64 = 4 << 10;

/// So many bytes of the hole are looked at.
const MARK: usize = 8;

/// So many bytes before the position are compared, once there is no hole.
const OVERLAP: usize = 32;

/// A followed file.
#[derive(Debug)]
pub(super) struct StreamFile {
    pub(super) stream: Stream,
    file: File,
    /// Where the next chunk begins, in the file.
    position: u64,
    /// Where the stream begins in the file: behind the hole, or at once where that is gone.
    head: u64,
    /// Where the file begins, in the turn's stream.
    base: u64,
    /// The largest size seen.
    seen: u64,
    /// The last bytes before the position.
    overlap: Vec<u8>,
    /// Since when an unfinished line has been waiting.
    unfinished_since: Option<Instant>,
    punched: u64,
}

/// What a look at the file gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The buffer may be cut into chunks.
    Bytes,
    /// The file was truncated; so many bytes are known to be lost, and the stream goes on at this offset.
    Truncated { lost: u64, to: u64 },
    /// Nothing new.
    Nothing,
}

impl StreamFile {
    pub(super) fn open(stream: Stream, path: &Path, offset: StreamOffset) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let head = if offset.truncated { 0 } else { HOLE };
        let position = head.saturating_add(offset.to.saturating_sub(offset.base));
        let (seen, punched) = (position, 0);
        Ok(Self {
            stream,
            file,
            position,
            head,
            base: offset.base,
            seen,
            overlap: Vec::new(),
            unfinished_since: None,
            punched,
        })
    }

    /// The file's size now.
    pub(super) fn size(&self) -> u64 {
        self.file.metadata().map_or(self.seen, |metadata| metadata.len())
    }

    /// Where the next chunk begins, in the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything before `size` is in the journal, as far as it is still there.
    pub(super) fn has_reached(&self, size: u64) -> bool {
        self.position >= size.min(self.size())
    }

    /// Reads what follows the position into `buffer`.
    pub(super) fn look(&mut self, buffer: &mut Vec<u8>) -> io::Result<Look> {
        let size = self.size();
        let overlap = len64(&self.overlap);
        if size < self.position {
            return Ok(self.truncated());
        }
        // Also where there is nothing new by size: it may have been written anew to the same length.
        let new = usize::try_from(size.saturating_sub(self.position))
            .unwrap_or(READ)
            .min(READ);
        buffer.resize(new.saturating_add(self.overlap.len()), 0);
        let read = self.file.read_at(buffer, self.position.saturating_sub(overlap))?;
        buffer.truncate(read);
        // After the read, so that what was read is surely what it seems to be.
        if !buffer.starts_with(&self.overlap) || (self.head > 0 && self.hole_is_filled()?) {
            return Ok(self.truncated());
        }
        // Only now is it sure that the size is that of what we follow, and no part of what came in its place.
        self.seen = self.seen.max(size);
        buffer.drain(..self.overlap.len());
        Ok(if buffer.is_empty() { Look::Nothing } else { Look::Bytes })
    }

    fn hole_is_filled(&self) -> io::Result<bool> {
        let mut mark = [0; MARK];
        let read = self.file.read_at(&mut mark, 0)?;
        Ok(mark.iter().take(read).any(|byte| *byte != 0))
    }

    fn truncated(&mut self) -> Look {
        let lost = self.seen.saturating_sub(self.position);
        self.base = self.offset_after(0);
        (self.position, self.head, self.seen, self.punched) = (0, 0, 0, 0);
        self.overlap.clear();
        self.unfinished_since = None;
        Look::Truncated { lost, to: self.base }
    }

    /// Cuts what was read into chunks; with `end`, an unfinished line, too.
    pub(super) fn chunks<'a>(&self, bytes: &'a [u8], end: bool, now: Instant) -> Chunker<'a> {
        let overdue = self
            .unfinished_since
            .is_some_and(|since| now.duration_since(since) >= FLUSH_AFTER);
        Chunker::new(bytes, overdue || end)
    }

    /// The offset in the turn's stream when `taken` more bytes are in the journal.
    pub(super) fn offset_after(&self, taken: usize) -> u64 {
        let taken = u64::try_from(taken).unwrap_or(u64::MAX);
        let behind_head = self.position.saturating_sub(self.head);
        self.base.saturating_add(behind_head).saturating_add(taken)
    }

    /// Gives up what follows in the file; answers how many bytes that is.
    pub(super) fn skip(&mut self) -> u64 {
        let size = self.size();
        let skipped = size.saturating_sub(self.position);
        self.position = size.max(self.position);
        self.overlap.clear();
        self.unfinished_since = None;
        skipped
    }

    /// The first `taken` of `bytes` are in the journal.
    pub(super) fn advance(&mut self, bytes: &[u8], taken: usize, now: Instant) {
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
        if self.position.saturating_sub(self.punched) >= PUNCH {
            self.punched = self.position.saturating_sub(len64(&self.overlap));
            // Not every file system can; then the file takes its room until the turn is over.
            let _given_back = sys::punch_hole(&self.file, HOLE, self.punched);
        }
    }

    /// When an unfinished line has to go out.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.unfinished_since.map(|since| since + FLUSH_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn take_all(stream: &mut StreamFile, end: bool) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), Vec::new());
        while let Look::Bytes = stream.look(&mut buffer).unwrap() {
            let now = Instant::now();
            let taken: usize = stream.chunks(&buffer, end, now).map(|chunk| chunk.stream_len()).sum();
            all.extend_from_slice(&buffer[..taken]);
            stream.advance(&buffer, taken, now);
            if taken == 0 {
                break;
            }
        }
        all
    }

    fn file(name: &str) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("promptd-stream-{name}-{}", std::process::id()));
        let file = File::options().create(true).append(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(HOLE).unwrap();
        (path, file)
    }

    #[test]
    fn a_file_comes_out_as_it_went_in_and_its_room_is_given_back() {
        use std::os::unix::fs::MetadataExt as _;
        let (path, mut file) = file("whole");
        let content: Vec<u8> = (0..6_000_000_u32)
            .map(|n| if n % 97 == 0 { b'\n' } else { b'a' })
            .collect();
        file.write_all(&content).unwrap();
        let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
        assert!(take_all(&mut stream, true) == content);
        assert!(file.metadata().unwrap().blocks() * 512 < 3_000_000);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_truncated_file_is_noticed_even_when_it_has_grown_again() {
        let (path, mut file) = file("truncated");
        let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
        file.write_all(b"first\nlost").unwrap();
        assert_eq!(take_all(&mut stream, false), b"first\n");
        assert_eq!(stream.look(&mut Vec::new()).unwrap(), Look::Bytes);
        std::fs::write(&path, b"another, longer than the first\n").unwrap();
        assert_eq!(
            stream.look(&mut Vec::new()).unwrap(),
            Look::Truncated { lost: 4, to: 6 }
        );
        assert_eq!(take_all(&mut stream, false), b"another, longer than the first\n");
        assert_eq!(stream.offset_after(0), 37);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_truncated_before_the_first_look_is_noticed() {
        let (path, mut file) = file("unseen");
        file.write_all(b"lost before anybody looked\n").unwrap();
        std::fs::write(&path, "x".repeat(2 * usize::try_from(HOLE).unwrap())).unwrap();
        let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
        assert_eq!(
            stream.look(&mut Vec::new()).unwrap(),
            Look::Truncated { lost: 0, to: 0 }
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_written_anew_to_the_same_length_is_noticed() {
        let (path, mut file) = file("same-length");
        let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
        file.write_all(b"first\n").unwrap();
        assert_eq!(take_all(&mut stream, false), b"first\n");
        std::fs::write(&path, b"again\n").unwrap();
        assert_eq!(
            stream.look(&mut Vec::new()).unwrap(),
            Look::Truncated { lost: 0, to: 6 }
        );
        assert_eq!(take_all(&mut stream, false), b"again\n");
        std::fs::write(&path, b"third\n").unwrap();
        assert_eq!(
            stream.look(&mut Vec::new()).unwrap(),
            Look::Truncated { lost: 0, to: 12 }
        );
        std::fs::remove_file(path).unwrap();
    }
}
