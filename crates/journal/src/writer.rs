//! Appending to a journal that others may append to, too.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::reader;
use promptd_model::{Body, Stream, len64};
use promptd_model::{Chunk, encode, encode_output, time_text};
use promptd_sys as sys;

/// A batch is written when it has grown to this many bytes: large enough that the system call costs nothing
/// per line, small enough that a reader sees the first line soon.
const BATCH_BYTES: usize = 256 << 10;

/// A journal could not be appended to; what is in it is whole.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no room on the disk.
    #[error("no room for {path}; free some disk and it goes on")]
    NoSpace {
        /// The journal.
        path: PathBuf,
    },
    /// It is not a journal, or another process has cut it.
    #[error("{path} is damaged at byte {at}; move the session's folder away to be rid of it")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where.
        at: u64,
    },
    /// The system refused.
    #[error("cannot append to {path}; check that the file and its folder are writable")]
    Io {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Appends records to one journal.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    /// Taken out while it is locked.
    file: Option<File>,
    /// The end of the file as we last left it; another size means that someone else appended.
    size: u64,
    last_seq: u64,
    buffer: Vec<u8>,
    /// Room is short: it is reserved before a batch is written, so that none is seen in part and then taken back.
    careful: bool,
}

/// A journal that is locked and caught up with; dropping it without [`Batch::write`] writes nothing.
#[derive(Debug)]
pub struct Batch<'a> {
    writer: &'a mut Writer,
    lock: Option<Flock<File>>,
    time: String,
    seq: u64,
    /// Where the records begin that others appended since our last batch.
    pub foreign_from: u64,
}

impl Writer {
    /// Opens a session's journal, and makes it when there is none yet.
    pub fn open(folder: &Path) -> Result<Self, WriteError> {
        let path = folder.join(super::FILE_NAME);
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(|source| WriteError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            file: Some(file),
            size: 0,
            last_seq: 0,
            buffer: Vec::new(),
            careful: false,
        })
    }

    /// Whether room is short.
    pub fn be_careful(&mut self, careful: bool) {
        self.careful |= careful;
    }

    /// The journal's end as we know it, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Locks the journal and catches up with what others appended.
    ///
    /// Waits for another writer's batch; that is why async code calls it on a thread of its own.
    pub fn lock(&mut self, now: Timestamp) -> Result<Batch<'_>, WriteError> {
        let Some(mut file) = self.file.take() else {
            return Err(WriteError::Damaged {
                path: self.path.clone(),
                at: self.size,
            });
        };
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(lock) => break lock,
                Err((back, nix::errno::Errno::EINTR)) => file = back,
                Err((back, errno)) => {
                    self.file = Some(back);
                    return Err(WriteError::Io {
                        path: self.path.clone(),
                        source: errno.into(),
                    });
                }
            }
        };
        let foreign_from = self.size;
        let caught_up = self.catch_up(&lock);
        let mut batch = Batch {
            seq: self.last_seq,
            writer: self,
            lock: Some(lock),
            time: time_text(now),
            foreign_from,
        };
        caught_up.inspect_err(|_| batch.unlock())?;
        Ok(batch)
    }

    /// Learns the last `seq` from the file when someone else has appended, and cuts off what a dead writer left.
    fn catch_up(&mut self, file: &File) -> Result<(), WriteError> {
        let io = |source| WriteError::Io {
            path: self.path.clone(),
            source,
        };
        let size = file.metadata().map_err(io)?.len();
        if size == self.size {
            return Ok(());
        }
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
        self.last_seq = match reader::last_head(file, end).map_err(io)? {
            reader::LastHead::Empty => 0,
            reader::LastHead::Seq(seq) => seq,
            reader::LastHead::Damaged(at) => return Err(damaged(at)),
        };
        self.size = end;
        Ok(())
    }
}

impl Batch<'_> {
    /// Adds a record.
    pub fn record(&mut self, turn: u32, body: &Body) -> Result<u64, WriteError> {
        let seq = self.next();
        encode(&mut self.writer.buffer, seq, &self.time, turn, body).map_err(|source| WriteError::Io {
            path: self.writer.path.clone(),
            source: source.into(),
        })?;
        Ok(seq)
    }

    /// Adds an output record without copying its bytes more than once; answers whether the batch is full.
    pub fn output(&mut self, turn: u32, stream: Stream, chunk: &Chunk<'_>, to: u64, late: bool) -> bool {
        let seq = self.next();
        encode_output(&mut self.writer.buffer, seq, &self.time, turn, stream, chunk, to, late);
        self.writer.buffer.len() >= BATCH_BYTES
    }

    fn next(&mut self) -> u64 {
        self.seq = self.seq.saturating_add(1);
        self.seq
    }

    /// The journal's end before this batch: others' records lie between `foreign_from` and here.
    pub fn foreign_to(&self) -> u64 {
        self.writer.size
    }

    /// Appends what was added with one write and unlocks; all of it is in the journal then, or nothing.
    pub fn write(self) -> Result<(), WriteError> {
        let Some(mut file) = self.lock.as_deref() else {
            return Ok(());
        };
        let room = if self.writer.careful {
            sys::reserve(file, self.writer.size, len64(&self.writer.buffer))
        } else {
            Ok(())
        };
        if let Err(source) = room.and_then(|()| file.write_all(&self.writer.buffer)) {
            // Half a batch must not stay: its records would be written again.
            let path = self.writer.path.clone();
            if let Err(source) = file.set_len(self.writer.size) {
                return Err(WriteError::Io { path, source });
            }
            return Err(match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    self.writer.careful = true;
                    WriteError::NoSpace { path }
                }
                _ => WriteError::Io { path, source },
            });
        }
        self.writer.careful = false;
        let written = u64::try_from(self.writer.buffer.len()).unwrap_or(u64::MAX);
        self.writer.size = self.writer.size.saturating_add(written);
        self.writer.last_seq = self.seq;
        Ok(())
    }

    fn unlock(&mut self) {
        if let Some(lock) = self.lock.take() {
            // An unlock that fails leaves the descriptor locked; opening it anew is all that helps.
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
