//! Whether the agent waits for an answer: that time does not count for the idle timeout.
//!
//! The server writes questions and answers to the journal. The keeper reads them only when the idle timeout has expired,
//! so the server does not have to tell it.

use std::collections::BTreeSet;
use std::path::Path;

use promptd_journal::{Reader, RecordLines};
use promptd_model::{Body, Head, RecordKind, decode, parse_head};

/// The open questions of one attempt.
#[derive(Debug)]
pub(crate) struct Questions {
    turn: u32,
    /// The position in the journal up to which questions were read.
    position: u64,
    open: BTreeSet<String>,
    /// A question was answered, but the answer has not been written to the agent yet.
    answered: bool,
}

impl Questions {
    /// No question was asked before `position`, which must be between two lines of the journal.
    pub(crate) fn new(turn: u32, position: u64) -> Self {
        Self {
            turn,
            position,
            open: BTreeSet::new(),
            answered: false,
        }
    }

    /// Reads new records and answers whether the agent waits for an answer. An answer that was not written to the agent
    /// yet counts once: a restarted server gets one more idle timeout to write it.
    pub(crate) fn check_open(&mut self, folder: &Path) -> bool {
        // A journal that cannot be read now is read the next time.
        if let Ok(mut reader) = Reader::open(folder) {
            reader.set_position(self.position);
            let (turn, mut records) = (self.turn, RecordLines::default());
            while let Ok(Some(piece)) = reader.read() {
                records.push(&piece, |head| concerns(head, turn), |line| self.apply(line));
                if piece.ends_line {
                    self.position = reader.position();
                }
            }
        }
        let answered = std::mem::take(&mut self.answered);
        answered || !self.open.is_empty()
    }

    fn apply(&mut self, line: &[u8]) {
        match parse_head(line) {
            Some(head) if head.turn == self.turn && head.kind == RecordKind::Other("stdin") => {
                return self.answered = false;
            }
            Some(head) if concerns(head, self.turn) => {}
            Some(_) | None => return,
        }
        match decode(line).map(|record| record.body) {
            Some(Body::Permission(permission)) => {
                self.open.insert(permission.id);
            }
            Some(Body::PermissionAnswer(answer)) => {
                self.answered |= self.open.remove(&answer.id);
            }
            // Another attempt.
            Some(Body::Started(_) | Body::Exited(_)) => {
                self.open.clear();
                self.answered = false;
            }
            Some(_) | None => {}
        }
    }
}

/// Whether the record tells of a question.
fn concerns(head: Head<'_>, turn: u32) -> bool {
    let kinds = ["permission", "permission_answer", "started", "exited"];
    head.turn == turn && matches!(head.kind, RecordKind::Other(kind) if kinds.contains(&kind))
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
    fn question_is_open_until_its_answer() {
        let folder = promptd_sys::TemporaryFolder::new("questions").unwrap();
        let ask = |id: &str| {
            Body::Permission(Permission {
                id: id.to_owned(),
                title: String::new(),
                options: Vec::new(),
                expires_at: None,
                ..Permission::default()
            })
        };
        let answer = |id: &str| {
            Body::PermissionAnswer(PermissionAnswer {
                id: id.to_owned(),
                option: "x".to_owned(),
                by: "caller".to_owned(),
                ..PermissionAnswer::default()
            })
        };
        let mut questions = Questions::new(2, 0);
        append(&folder, 1, ask("other turn"));
        assert!(!questions.check_open(&folder));
        append(&folder, 2, ask("a"));
        append(&folder, 2, ask("b"));
        append(&folder, 2, answer("a"));
        assert!(questions.check_open(&folder));
        append(&folder, 2, Body::Stdin(Output::default()));
        assert!(questions.check_open(&folder));
        append(&folder, 2, answer("b"));
        append(&folder, 2, Body::Stdin(Output::default()));
        assert!(!questions.check_open(&folder));
        // The server died after writing the answer to the journal and before writing it to the agent.
        append(&folder, 2, ask("late"));
        append(&folder, 2, answer("late"));
        assert!(questions.check_open(&folder));
        assert!(!questions.check_open(&folder));
        // Larger than what is read at once.
        let mut large = PermissionAnswer {
            id: "large".to_owned(),
            ..PermissionAnswer::default()
        };
        large.details.reason = Some("x".repeat(600 << 10));
        append(&folder, 2, ask("large"));
        append(&folder, 2, Body::PermissionAnswer(large));
        append(&folder, 2, Body::Stdin(Output::default()));
        assert!(!questions.check_open(&folder));
        append(&folder, 2, ask("c"));
        append(&folder, 2, Body::Started(Started::default()));
        assert!(!questions.check_open(&folder));
    }
}
