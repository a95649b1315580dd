//! Whether the agent waits for an answer: a silence that is not its fault.
//!
//! The server writes down questions and answers. They are looked for in the journal only when a silence has become too
//! long, so that neither a keeper nor a server has to be told.

use std::collections::BTreeSet;
use std::path::Path;

use promptd_journal::Reader;
use promptd_model::Body;
use promptd_model::{RecordKind, decode, parse_head, whole_lines};

/// The questions of one turn's process.
#[derive(Debug)]
pub(super) struct Questions {
    turn: u32,
    /// How far the journal was read.
    position: u64,
    open: BTreeSet<String>,
    /// Somebody has answered, and the agent has not been told yet.
    answered: bool,
}

impl Questions {
    /// No question was asked before `position`, a place between two lines of the journal.
    pub(super) fn new(turn: u32, position: u64) -> Self {
        Self {
            turn,
            position,
            open: BTreeSet::new(),
            answered: false,
        }
    }

    /// Whether the agent waits for an answer now. One that no server has handed over yet counts once: then the server has
    /// as long again to come back.
    pub(super) fn are_open(&mut self, folder: &Path) -> bool {
        // A journal that cannot be read just now is read the next time.
        if let Ok(mut reader) = Reader::open(folder) {
            reader.set_position(self.position);
            // A question is never larger than a block.
            while let Ok(Some(piece)) = reader.read() {
                for line in whole_lines(&piece.bytes) {
                    self.record(line);
                }
                self.position = reader.position();
            }
        }
        let answered = std::mem::take(&mut self.answered);
        answered || !self.open.is_empty()
    }

    fn record(&mut self, line: &[u8]) {
        let Some(head) = parse_head(line).filter(|head| head.turn == self.turn) else {
            return;
        };
        match head.kind {
            RecordKind::Other("stdin") => return self.answered = false,
            RecordKind::Other("permission" | "permission_answer" | "started" | "exited") => {}
            _ => return,
        }
        match decode(line).map(|record| record.body) {
            Some(Body::Permission(permission)) => {
                self.open.insert(permission.id);
            }
            Some(Body::PermissionAnswer(answer)) => {
                self.answered |= self.open.remove(&answer.id);
            }
            // Of another attempt.
            Some(Body::Started(_) | Body::Exited(_)) => {
                self.open.clear();
                self.answered = false;
            }
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_journal::Writer;
    use promptd_model::{Output, Permission, PermissionAnswer, Started};

    fn append(folder: &Path, turn: u32, body: Body) {
        let mut writer = Writer::open(folder).unwrap();
        let mut batch = writer.lock(jiff::Timestamp::UNIX_EPOCH).unwrap();
        batch.record(turn, &body).unwrap();
        batch.write().unwrap();
    }

    #[test]
    fn a_question_is_open_from_its_record_to_its_answer() {
        let folder = std::env::temp_dir().join(format!("promptd-questions-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let ask = |id: &str| {
            Body::Permission(Permission {
                id: id.to_owned(),
                title: String::new(),
                options: Vec::new(),
                tool_call: None,
                expires_at: None,
            })
        };
        let answer = |id: &str| {
            Body::PermissionAnswer(PermissionAnswer {
                id: id.to_owned(),
                option: "x".to_owned(),
                by: "caller".to_owned(),
            })
        };
        let mut questions = Questions::new(2, 0);
        append(&folder, 1, ask("other turn"));
        assert!(!questions.are_open(&folder));
        append(&folder, 2, ask("a"));
        append(&folder, 2, ask("b"));
        append(&folder, 2, answer("a"));
        assert!(questions.are_open(&folder));
        append(&folder, 2, Body::Stdin(Output::default()));
        assert!(questions.are_open(&folder));
        append(&folder, 2, answer("b"));
        append(&folder, 2, Body::Stdin(Output::default()));
        assert!(!questions.are_open(&folder));
        // A server that dies between the answer and the agent is not the agent's fault.
        append(&folder, 2, ask("late"));
        append(&folder, 2, answer("late"));
        assert!(questions.are_open(&folder));
        assert!(!questions.are_open(&folder));
        append(&folder, 2, ask("c"));
        append(&folder, 2, Body::Started(Started::default()));
        assert!(!questions.are_open(&folder));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
