//! The journal: one append-only file of JSON lines per session, which is the queue, the log and the wire.
//!
//! ```text
//! {"seq":1,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"prompt","text":"…"}
//! {"seq":2,"time":"…","turn":1,"type":"stdout","to":6,"data":"hello"}
//! ```
//!
//! Layout: `seq`, `time`, `turn` (absent for the session's own records) and `type` come first and in this
//! order, in output records followed by `to`, so that a reader learns all it needs from the head of a line.
//! `seq` starts at 1 and has no holes.
//!
//! Writing: whoever appends holds the file's `flock` for that batch, first catches up with what others
//! appended, and writes the batch with one call. A writer that dies in the middle leaves a torn last line (no
//! newline), which the next writer cuts off under the lock; readers never look past the last newline.
//!
//! Reading: a cursor is a file offset; finding a `seq` is a binary search; waiting for more is inotify. No
//! index, no buffer per reader beyond one block, nothing that a reader can do to a writer.
//!
//! Whatever leaves this machine is read through [`MaskedReader`], which shows no secret; the file stays exact.
//!
//! May use `mask`, `model` and `sys` only.
#![forbid(unsafe_code)]

mod fold;
mod masked;
mod masked_lines;
mod reader;
mod start_over;
mod writer;

pub use fold::fold;
pub use masked::MaskedReader;
pub use reader::{Piece, ReadError, Reader, SeekError};
pub use start_over::start_over;
pub use writer::{Batch, WriteError, Writer};

/// The journal's name in a session's folder.
pub const FILE_NAME: &str = "journal.ndjson";
