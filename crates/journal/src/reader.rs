//! Reading a journal from any `seq`, whole lines only, in bounded memory.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use promptd_model::len64;
use promptd_model::parse_head;
use promptd_sys as sys;

/// One read: large enough for a gigabyte per second, small enough that a hundred readers fit in memory.
const BLOCK: usize = 256 << 10;

/// The most that is read to find a line's head.
const HEAD: usize = 256;

/// A stretch this short is walked rather than halved again.
const CLOSE: u64 = 4 << 10;

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

/// There is no such place in the journal.
#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// Records after that cursor are no longer kept.
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

/// What one read gives: whole lines, or a piece of a line that is larger than a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The journal's bytes.
    pub bytes: Bytes,
    /// The bytes begin with a line.
    pub starts_line: bool,
    /// The bytes end with a newline.
    pub ends_line: bool,
}

/// A cursor in a journal.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    pub(super) file: Arc<File>,
    /// Where the next piece begins.
    position: u64,
    /// A line larger than a block lies before this offset, so that its pieces may be given.
    line_end: u64,
    starts_line: bool,
    /// The last piece reached the end that the file had then.
    at_end: bool,
}

impl Reader {
    /// Opens a session's journal, standing at its beginning.
    pub fn open(folder: &Path) -> Result<Self, ReadError> {
        let path = folder.join(super::FILE_NAME);
        match File::open(&path) {
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

    /// Goes to an offset that [`Reader::position`] gave between two lines.
    pub fn set_position(&mut self, position: u64) {
        (self.position, self.line_end, self.starts_line) = (position, 0, true);
    }

    /// Whether the last piece reached the end that the file had then: nothing but an append makes another read
    /// worthwhile.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// The error for a line before the position that is no record.
    pub(super) fn damaged(&self) -> ReadError {
        self.error(damaged(self.position))
    }

    pub(super) fn error(&self, source: io::Error) -> ReadError {
        ReadError {
            path: self.path.clone(),
            source,
        }
    }

    /// Goes to the record that follows `after`.
    pub fn seek(&mut self, after: u64) -> Result<(), SeekError> {
        let position = self.find(after).map_err(|source| self.error(source))??;
        self.set_position(position);
        Ok(())
    }

    fn find(&self, after: u64) -> io::Result<Result<u64, SeekError>> {
        let end = last_line_end(&self.file, self.file.metadata()?.len())?;
        let last = match last_head(&self.file, end)? {
            LastHead::Empty => 0,
            LastHead::Seq(seq) => seq,
            LastHead::Damaged(at) => return Err(damaged(at)),
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
        // The line at `low` has a seq of at most `target`; every line that begins at or behind `high` has more.
        let (mut low, mut high) = (0, end);
        while high.saturating_sub(low) > CLOSE {
            let middle = low + (high - low) / 2;
            match line_start_from(&self.file, middle, high)? {
                Some(start) if seq_at(&self.file, start)? <= target => low = start,
                Some(_) | None => high = middle,
            }
        }
        self.scan_from(low, target, end)
    }

    /// Walks line by line: what is left when the search has closed in.
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

    /// The next piece, or `None` at the end; never waits for more records, but perhaps for the disk.
    pub fn read(&mut self) -> Result<Option<Piece>, ReadError> {
        let mut block = self.block().map_err(|source| self.error(source))?;
        block.resize(block.capacity(), 0);
        let read = read_some(&self.file, &mut block, self.position).map_err(|source| self.error(source))?;
        block.truncate(read);
        self.piece(block)
    }

    /// Room for what there is to read: a block for a single short line would cost more than the line.
    fn block(&self) -> io::Result<BytesMut> {
        let left = self.file.metadata()?.len().saturating_sub(self.position);
        let left = usize::try_from(left).unwrap_or(BLOCK);
        Ok(BytesMut::with_capacity(left.min(BLOCK)))
    }

    /// Like [`Reader::read`], but answers `Err(WouldBlock)` instead of waiting for the disk.
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

    /// Cuts what was read at the last newline; remembers how far a line goes that is larger than a block.
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
            // The line has no end yet: it is being written, or was left by a writer that died.
            return Ok(None);
        } else {
            let behind = self.position.saturating_add(len64(&block));
            match newline_from(&self.file, behind, u64::MAX).map_err(|source| self.error(source))? {
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

/// What stands at the end of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastHead {
    /// No record.
    Empty,
    /// The last record's `seq`.
    Seq(u64),
    /// A line that is no record, and where it begins.
    Damaged(u64),
}

/// Where the last whole line ends: behind the last newline before `size`.
pub(super) fn last_line_end(file: &File, size: u64) -> io::Result<u64> {
    Ok(last_newline(file, size)?.map_or(0, |newline| newline.saturating_add(1)))
}

/// The head of the last of the whole lines that end at `end`.
pub(super) fn last_head(file: &File, end: u64) -> io::Result<LastHead> {
    if end == 0 {
        return Ok(LastHead::Empty);
    }
    let start = last_line_end(file, end.saturating_sub(1))?;
    match seq_at(file, start) {
        Ok(seq) => Ok(LastHead::Seq(seq)),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(LastHead::Damaged(start)),
        Err(error) => Err(error),
    }
}

fn last_newline(file: &File, before: u64) -> io::Result<Option<u64>> {
    let mut end = before;
    // Small at first: the last line is nearly always short.
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

/// The first newline at or behind `from` and before `limit`.
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

/// The first line that begins at or behind `from` and before `limit`.
fn line_start_from(file: &File, from: u64, limit: u64) -> io::Result<Option<u64>> {
    let Some(before) = from.checked_sub(1) else {
        return Ok(Some(0));
    };
    let start = newline_from(file, before, limit)?.map(|newline| newline.saturating_add(1));
    Ok(start.filter(|start| *start < limit))
}

/// The `seq` of the line that begins at `start`.
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
mod tests {
    use super::*;
    use crate::Writer;
    use promptd_model::{Body, Prompt};
    use proptest::prelude::*;

    fn journal(name: &str, texts: &[String]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("promptd-reader-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        drop(std::fs::remove_file(folder.join(crate::FILE_NAME)));
        let mut writer = Writer::open(&folder).unwrap();
        for text in texts {
            let mut batch = writer.lock(jiff::Timestamp::UNIX_EPOCH).unwrap();
            batch
                .record(
                    1,
                    &Body::Prompt(Prompt {
                        text: text.clone(),
                        idempotency_key: None,
                    }),
                )
                .unwrap();
            batch.write().unwrap();
        }
        folder
    }

    fn read_all(reader: &mut Reader) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = reader.read().unwrap() {
            all.extend_from_slice(&piece.bytes);
        }
        all
    }

    #[test]
    fn every_seq_is_found_between_long_and_short_lines() {
        let texts: Vec<String> = (0..60)
            .map(|n| "x".repeat(if n % 13 == 5 { 600_000 } else { n * 31 }))
            .collect();
        let folder = journal("seek", &texts);
        let mut reader = Reader::open(&folder).unwrap();
        for after in 0..60 {
            reader.seek(after).unwrap();
            let piece = reader.read_cached().unwrap().unwrap();
            assert!(piece.starts_line);
            assert_eq!(parse_head(&piece.bytes).unwrap().seq, after + 1);
        }
        reader.seek(60).unwrap();
        assert!(reader.read().unwrap().is_none());
        assert!(matches!(reader.seek(61), Err(SeekError::Ahead { last: 60 })));
        reader.seek(0).unwrap();
        assert_eq!(
            read_all(&mut reader),
            std::fs::read(folder.join(crate::FILE_NAME)).unwrap()
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_torn_tail_is_never_given_and_the_next_writer_cuts_it_off() {
        use std::io::Write as _;
        let folder = journal("torn", &["one".into()]);
        let path = folder.join(crate::FILE_NAME);
        let whole = std::fs::read(&path).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"seq\":2,\"time\":\"20").unwrap();
        let mut reader = Reader::open(&folder).unwrap();
        assert_eq!(read_all(&mut reader), whole);
        let mut writer = Writer::open(&folder).unwrap();
        let mut batch = writer.lock(jiff::Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(batch.record(1, &Body::Frozen { reason: "disk".into() }).unwrap(), 2);
        batch.write().unwrap();
        let rest = read_all(&mut reader);
        assert_eq!(parse_head(&rest).unwrap().seq, 2);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn two_writers_leave_no_hole_and_no_double() {
        let folder = journal("two", &[]);
        let mut writers = [Writer::open(&folder).unwrap(), Writer::open(&folder).unwrap()];
        for n in 0..20_usize {
            let mut batch = writers[n % 3 % 2].lock(jiff::Timestamp::UNIX_EPOCH).unwrap();
            batch.record(1, &Body::Thawed { reason: String::new() }).unwrap();
            batch.write().unwrap();
        }
        let all = read_all(&mut Reader::open(&folder).unwrap());
        let seqs: Vec<u64> = all
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| parse_head(line).unwrap().seq)
            .collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
        std::fs::remove_dir_all(folder).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_scribbled_journal_is_an_error_and_no_panic(at in 0_usize..400, byte: u8, after in 0_u64..6) {
            let folder = journal("scribble", &["a".repeat(20), "b".repeat(50), "c".into()]);
            let path = folder.join(crate::FILE_NAME);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = Reader::open(&folder).unwrap();
            let _found = reader.seek(after);
            let _read = reader.read();
        }
    }
}
