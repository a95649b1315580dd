//! Reads a journal into a session's state.

use super::reader::{Piece, ReadError, Reader};
use promptd_model::{RecordKind, SessionState, decode, len64, parse_head, whole_lines};

/// Applies all records between the reader's position and the journal's end to `state`.
///
/// Also after an error, the reader is then behind the last record that was applied: the next call meets the same damage
/// again, and passes over nothing. Only the head of output records is parsed, so this runs at memory speed.
pub fn fold(reader: &mut Reader, state: &mut SessionState) -> Result<(), ReadError> {
    let mut applied = reader.position();
    let folded = fold_lines(reader, state, &mut applied);
    if reader.position() != applied {
        reader.set_position(applied);
    }
    folded
}

fn fold_lines(reader: &mut Reader, state: &mut SessionState, applied: &mut u64) -> Result<(), ReadError> {
    let mut long_line = Vec::new();
    while let Some(Piece {
        bytes,
        starts_line,
        ends_line,
    }) = reader.read()?
    {
        if starts_line && ends_line {
            for line in whole_lines(&bytes) {
                apply(state, line).ok_or_else(|| reader.damaged_error(*applied))?;
                *applied = applied.saturating_add(len64(line)).saturating_add(1);
            }
        } else {
            // A line larger than a block: a long prompt, or output with many escaped bytes.
            long_line.extend_from_slice(&bytes);
            if ends_line {
                apply(state, long_line.trim_ascii_end()).ok_or_else(|| reader.damaged_error(*applied))?;
                *applied = applied.saturating_add(len64(&long_line));
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

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_sys::TemporaryFolder;

    fn line(seq: u64, rest: &str) -> String {
        format!("{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:00.123456Z\",\"turn\":1,{rest}}}\n")
    }

    /// Folds what is in the file behind `position`; answers whether it went well, and where the next call begins.
    fn fold_from(folder: &TemporaryFolder, position: u64, state: &mut SessionState) -> (bool, u64) {
        let mut reader = Reader::open(folder).unwrap();
        reader.set_position(position);
        let folded = fold(&mut reader, state);
        (folded.is_ok(), reader.position())
    }

    #[test]
    fn damage_is_met_again_and_what_follows_it_is_not_skipped() {
        let prompt = r#""type":"prompt","text":"x""#;
        let ended = r#""type":"turn_ended","status":"completed""#;
        for damage in ["garbage\n".to_owned(), line(2, r#""type":"exited","code":"no number""#)] {
            let folder = TemporaryFolder::new("fold").unwrap();
            let first = line(1, prompt);
            let text = format!("{first}{damage}{}", line(3, ended));
            std::fs::write(folder.join(crate::FILE_NAME), &text).unwrap();
            let mut state = SessionState::default();
            let mut position = 0;
            for _again in 0..3 {
                let (is_ok, next) = fold_from(&folder, position, &mut state);
                assert_eq!((is_ok, next, state.last_seq), (false, len64(first.as_bytes()), 1));
                position = next;
            }
            assert!(state.current().is_some(), "the turn has not ended");
        }
    }

    #[test]
    fn a_long_line_that_cannot_be_decoded_is_met_again_from_its_beginning() {
        let folder = TemporaryFolder::new("fold-long").unwrap();
        let first = line(1, r#""type":"prompt","text":"x""#);
        let long = line(
            2,
            &format!(r#""type":"exited","error":"{}","code":"no""#, "x".repeat(40 << 10)),
        );
        std::fs::write(folder.join(crate::FILE_NAME), format!("{first}{long}")).unwrap();
        let mut state = SessionState::default();
        let begin = len64(first.as_bytes());
        assert_eq!(fold_from(&folder, 0, &mut state), (false, begin));
        assert_eq!(fold_from(&folder, begin, &mut state), (false, begin));
    }
}
