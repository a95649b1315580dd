//! Finds out whether the server has ended the turn: later output is marked as late.

use std::path::Path;

use promptd_journal::{Batch, Reader, heads};
use promptd_model::RecordKind;

/// Whether the server has written the turn's end since the keeper's last batch.
///
/// Reads block by block: the keeper of an earlier turn may find all records of a later turn here.
pub(crate) fn is_turn_ended(batch: &Batch<'_>, folder: &Path, turn: u32) -> bool {
    if batch.others_from == batch.others_to() {
        return false;
    }
    let Ok(mut reader) = Reader::open(folder) else {
        return false;
    };
    reader.set_position(batch.others_from);
    while let Ok(Some(piece)) = reader.read() {
        if heads(&piece).any(|head| head.turn == turn && head.kind == RecordKind::Other("turn_ended")) {
            return true;
        }
    }
    false
}
