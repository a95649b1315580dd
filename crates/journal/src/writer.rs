//! Appends to a journal that other processes may append to as well.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use nix::fcntl::Flock;

use super::reader;
use promptd_model::{Body, Stream, len64};
use promptd_model::{Chunk, encode, encode_output, time_text};
use promptd_sys as sys;

/// A batch of this size is full: large enough that the system call costs little per line, and small enough that readers
/// see its first line soon.
const BATCH_BYTES: usize = 256 << 10;

/// How much more disk space is reserved than a batch needs.
const RESERVE_AHEAD: u64 = 16 << 10;

/// A journal could not be appended to. Its records are complete.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no free space on the disk.
    #[error("no room for {path}; free some disk and it goes on")]
    NoSpace {
        /// The journal.
        path: PathBuf,
    },
    /// It is not a journal, or another process has truncated it.
    #[error("{path} is damaged at byte {at}; move the session's folder away to be rid of it")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where.
        at: u64,
    },
    /// Another process keeps the lock.
    #[error("another process keeps {path} locked; `fuser {path}` names it: end it, or let it unlock the file")]
    Locked {
        /// The journal.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot append to {path}; check that the file and its folder are writable")]
    Io {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How long to wait for another holder of the lock. A writer of ours holds it for milliseconds, but every process of this
/// user can hold it for ever.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a writer that has the lock waits before it writes the same bytes again.
const RETRY_PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(20),
    Duration::from_millis(200),
];

/// Appends records to one journal.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    lock_timeout: Duration,
    /// `None` while it is locked.
    file: Option<File>,
    /// The size after the last batch of this writer. Another size means that another writer has appended.
    size: u64,
    last_seq: u64,
    buffer: Vec<u8>,
    /// Up to this offset disk space is reserved, so that a batch is never written partially and removed again: a reader
    /// may have seen that part.
    reserved_to: u64,
}

/// Does again what failed, after a moment: a network disk that fails once, or is full for a moment, is not lasting damage.
fn try_again(mut write: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for pause in RETRY_PAUSES {
        match write() {
            Ok(()) => return Ok(()),
            Err(_) => std::thread::sleep(pause),
        }
    }
    write()
}

/// A batch as one incomplete line of the same length.
pub(super) fn without_line_ends(batch: &[u8]) -> Vec<u8> {
    let hide = |byte: &u8| if *byte == b'\n' { b' ' } else { *byte };
    batch.iter().map(hide).collect()
}

/// A locked journal to which records can be added. Dropping it without [`Batch::write`] writes nothing.
#[derive(Debug)]
pub struct Batch<'a> {
    writer: &'a mut Writer,
    lock: Option<Flock<File>>,
    time: String,
    seq: u64,
    /// Where the records of other writers start that were appended since this writer's last batch.
    pub others_from: u64,
}

impl Writer {
    /// Opens a session's journal, and creates it if it is missing.
    pub fn open(folder: &Path) -> Result<Self, WriteError> {
        let path = folder.join(super::FILE_NAME);
        let mut options = OpenOptions::new();
        // Not for appending: whoever has the lock knows the end, and may have to write the same bytes twice.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = sys::open_own(&path, &mut options);
        let file = file.map_err(|source| WriteError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            lock_timeout: LOCK_TIMEOUT,
            file: Some(file),
            size: 0,
            last_seq: 0,
            buffer: Vec::new(),
            reserved_to: 0,
        })
    }

    /// Waits for another holder of the lock only so long.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// The journal's size after the last batch of this writer.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Locks the journal and reads the `seq` of the last record.
    ///
    /// Waits for another writer's batch, so async code must call it on a blocking thread. Fails where another process keeps
    /// the lock.
    pub fn lock(&mut self, now: Timestamp) -> Result<Batch<'_>, WriteError> {
        let Some(file) = self.file.take() else {
            return Err(WriteError::Damaged {
                path: self.path.clone(),
                at: self.size,
            });
        };
        let lock = match sys::lock_file(file, self.lock_timeout) {
            Ok(lock) => lock,
            Err((back, source)) => {
                self.file = Some(back);
                let path = self.path.clone();
                return Err(match source.kind() {
                    ErrorKind::WouldBlock => WriteError::Locked { path },
                    _ => WriteError::Io { path, source },
                });
            }
        };
        let others_from = self.size;
        let caught_up = self.catch_up(&lock);
        let mut batch = Batch {
            seq: self.last_seq,
            writer: self,
            lock: Some(lock),
            time: time_text(now),
            others_from,
        };
        caught_up.inspect_err(|_| batch.unlock())?;
        Ok(batch)
    }

    /// Appends records as one batch.
    pub fn append(&mut self, now: Timestamp, turn: u32, bodies: &[Body]) -> Result<(), WriteError> {
        let mut batch = self.lock(now)?;
        for body in bodies {
            batch.record(turn, body)?;
        }
        batch.write()
    }

    /// If another writer has appended, reads the last `seq` and removes an incomplete line of a dead writer.
    fn catch_up(&mut self, file: &File) -> Result<(), WriteError> {
        let io = |source| WriteError::Io {
            path: self.path.clone(),
            source,
        };
        let size = file.metadata().map_err(io)?.len();
        if size == self.size {
            return Ok(());
        }
        // Another writer may have used what was reserved, or given it back.
        self.reserved_to = 0;
        let damaged = |at| WriteError::Damaged {
            path: self.path.clone(),
            at,
        };
        if size < self.size {
            return Err(damaged(size));
        }
        let end = reader::last_line_end(file, size).map_err(io)?;
        if end < size {
            file.set_len(end).map_err(io)?;
        }
        self.last_seq = match reader::last_record(file, end).map_err(io)? {
            reader::LastRecord::Empty => 0,
            reader::LastRecord::Seq(seq) => seq,
            reader::LastRecord::Damaged(at) => return Err(damaged(at)),
        };
        self.size = end;
        Ok(())
    }
}

impl Writer {
    /// Appends the batch. No line of it is complete before there is disk space for all of it: a reader must not see what is
    /// removed again.
    fn append_batch(&mut self, file: &File) -> io::Result<()> {
        if !self.reserve(file)? {
            file.write_all_at(&without_line_ends(&self.buffer), self.size)?;
        }
        // From here on a reader may see records, and a journal that gets shorter again is a damaged one.
        try_again(|| file.write_all_at(&self.buffer, self.size))
    }

    /// Reserves disk space for the batch; false where the file system does not support that.
    fn reserve(&mut self, file: &File) -> io::Result<bool> {
        let length = len64(&self.buffer);
        let end = self.size.saturating_add(length);
        if end <= self.reserved_to {
            return Ok(true);
        }
        // A little more, so that short records need no call each; where that is too much, just enough.
        let more = length.saturating_add(RESERVE_AHEAD);
        let (is_reserved, length) = match sys::reserve_space(file, self.size, more) {
            Ok(is_reserved) => (is_reserved, more),
            Err(_) => match sys::reserve_space(file, self.size, length) {
                Ok(is_reserved) => (is_reserved, length),
                Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                    return Err(error);
                }
                // Nothing can be reserved for another reason, such as a filter of system calls.
                Err(_) => (false, length),
            },
        };
        if is_reserved {
            self.reserved_to = self.size.saturating_add(length);
        }
        Ok(is_reserved)
    }
}

impl Batch<'_> {
    /// Adds a record.
    pub fn record(&mut self, turn: u32, body: &Body) -> Result<u64, WriteError> {
        let seq = self.next_seq();
        encode(&mut self.writer.buffer, seq, &self.time, turn, body).map_err(|source| WriteError::Io {
            path: self.writer.path.clone(),
            source: source.into(),
        })?;
        Ok(seq)
    }

    /// Adds an output record, with a single copy of its bytes; answers whether the batch is full.
    pub fn output(&mut self, turn: u32, stream: Stream, chunk: &Chunk<'_>, to: u64, late: bool) -> bool {
        let seq = self.next_seq();
        encode_output(&mut self.writer.buffer, seq, &self.time, turn, stream, chunk, to, late);
        self.writer.buffer.len() >= BATCH_BYTES
    }

    fn next_seq(&mut self) -> u64 {
        self.seq = self.seq.saturating_add(1);
        self.seq
    }

    /// The end of the other writers' records.
    pub fn others_to(&self) -> u64 {
        self.writer.size
    }

    /// Appends the records with one write and unlocks. Either all of them are in the journal, or none.
    pub fn write(self) -> Result<(), WriteError> {
        let Some(file) = self.lock.as_deref() else {
            return Ok(());
        };
        if let Err(source) = self.writer.append_batch(file) {
            // A partial batch must be removed: its records will be written again.
            let path = self.writer.path.clone();
            self.writer.reserved_to = 0;
            if let Err(source) = file.set_len(self.writer.size) {
                return Err(WriteError::Io { path, source });
            }
            return Err(match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => WriteError::NoSpace { path },
                _ => WriteError::Io { path, source },
            });
        }
        let written = u64::try_from(self.writer.buffer.len()).unwrap_or(u64::MAX);
        self.writer.size = self.writer.size.saturating_add(written);
        self.writer.last_seq = self.seq;
        Ok(())
    }

    fn unlock(&mut self) {
        if let Some(lock) = self.lock.take() {
            // If unlocking fails, the descriptor stays locked, and the journal must be opened again.
            self.writer.file = lock.unlock().ok();
        }
        self.writer.buffer.clear();
        if self.writer.buffer.capacity() > 2 * BATCH_BYTES {
            self.writer.buffer.shrink_to(BATCH_BYTES);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_that_fails_once_is_done_again_and_lasting_damage_is_reported() {
        for (failures, is_written) in [(0, true), (1, true), (4, true), (5, false)] {
            let mut calls = 0;
            let written = try_again(|| {
                calls += 1;
                if calls > failures {
                    Ok(())
                } else {
                    Err(ErrorKind::StorageFull.into())
                }
            });
            assert_eq!(written.is_ok(), is_written, "{failures} failures");
        }
    }
}
