//! Reads a journal into a session's state.

use super::reader::{Piece, ReadError, Reader};
use promptd_model::{RecordKind, SessionState, decode, parse_head, whole_lines};

/// Applies all records between the reader's position and the journal's end to `state`.
///
/// Only the head of output records is parsed, so this runs at memory speed.
pub fn fold(reader: &mut Reader, state: &mut SessionState) -> Result<(), ReadError> {
    let mut long_line = Vec::new();
    while let Some(Piece {
        bytes,
        starts_line,
        ends_line,
    }) = reader.read()?
    {
        if starts_line && ends_line {
            for line in whole_lines(&bytes) {
                apply(state, line).ok_or_else(|| reader.damaged_error())?;
            }
        } else {
            // A line larger than a block: a long prompt, or output with many escaped bytes.
            long_line.extend_from_slice(&bytes);
            if ends_line {
                apply(state, long_line.trim_ascii_end()).ok_or_else(|| reader.damaged_error())?;
                long_line.clear();
            }
        }
    }
    Ok(())
}

fn apply(state: &mut SessionState, line: &[u8]) -> Option<()> {
    let head = parse_head(line)?;
    match head.kind {
        RecordKind::Output(stream, to) => state.apply_output(head.seq, head.turn, stream, to),
        RecordKind::Other(_) => state.apply(&decode(line)?),
    }
    Some(())
}
