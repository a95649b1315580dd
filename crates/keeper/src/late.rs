//! Whether what comes now is late: the turn's end is in the journal, written by another hand.

use std::path::Path;

use promptd_journal::{Batch, Reader};
use promptd_model::{RecordKind, parse_head, whole_lines};

/// Whether somebody else has written the turn's end since our last batch.
///
/// Read block by block: an earlier turn's keeper that has been silent for long finds all of a later turn there.
pub(super) fn has_ended(batch: &Batch<'_>, folder: &Path, turn: u32) -> bool {
    if batch.foreign_from == batch.foreign_to() {
        return false;
    }
    let Ok(mut reader) = Reader::open(folder) else {
        return false;
    };
    reader.set_position(batch.foreign_from);
    while let Ok(Some(piece)) = reader.read() {
        let mut heads = whole_lines(&piece.bytes).filter_map(parse_head);
        if heads.any(|head| head.turn == turn && head.kind == RecordKind::Other("turn_ended")) {
            return true;
        }
    }
    false
}
