//! The journal: one append-only file of JSON lines per session, which is the queue, the log and the wire.
//!
//! ```text
//! {"seq":1,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"prompt","text":"…"}
//! {"seq":2,"time":"…","turn":1,"type":"stdout","to":6,"data":"hello"}
//! ```
//!
//! Layout: `seq`, `time`, `turn` (absent for records of the session) and `type` come first and in this order; in output
//! records `to` follows. So the head of a line tells a reader all it needs. `seq` starts at 1 and has no gaps.
//!
//!
//! Writing: a writer holds the file's `flock` for each batch, first reads what other writers have appended, and writes
//! the batch with one call. A writer that dies in the middle leaves an incomplete last line (without newline). The next
//! writer removes it under the lock; readers never read past the last newline.
//!
//! Reading: a cursor is a file offset, and finding a `seq` is a binary search. A reader needs one block of memory, and
//! cannot slow down a writer.
//!
//! Everything that leaves the machine is read with [`MaskedReader`], which hides secrets. The file itself is exact.
//!
//! Owns the file format on disk. Promises that a batch is in the journal completely or not at all, and that the death of
//! any process loses no record. May use `mask`, `model` and `sys` only; no tokio.
#![forbid(unsafe_code)]

mod fold;
mod line_masker;
mod long_line;
mod masked;
mod reader;
mod record_lines;
mod reset;
mod unfinished;
mod writer;

pub use fold::fold;
pub use masked::MaskedReader;
pub use reader::{Piece, ReadError, Reader, SeekError, is_lasting};
pub use record_lines::{RecordLines, heads};
pub use reset::reset_journal;
pub use writer::{Batch, WriteError, Writer};

/// The journal's name in a session's folder.
pub const FILE_NAME: &str = "journal.ndjson";
