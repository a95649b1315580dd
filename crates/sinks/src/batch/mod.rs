//! Batches: from the journal to the messages of one attempt.
//!
//! Owns the cursor on disk and the reading of records for a batch. Promises that the bounds of a batch are on disk
//! before its messages are returned, and that the same bounds give the same messages. May not send anything.
//!
//! The file of a cursor: `{"version":1,"seq":17,"created":true,"epoch":"…","batch":{"first":18,"last":20,"epoch":"…"}}`.

mod cursor;
mod cut;
mod journal_lines;
mod prepare;
mod translator_cache;

pub(crate) use cursor::{Bounds, Cursor, CursorFile, cursor_path};
pub(crate) use prepare::{BatchContext, PreparedBatch, prepare};
pub(crate) use translator_cache::TranslatorCache;
