//! The open questions of one attempt.

use super::driver::Question;

/// The open questions, oldest first, each with the data that the protocol needs for its answer.
#[derive(Debug)]
pub(super) struct Questions<Key> {
    asked: u64,
    open: Vec<(Question, Key)>,
}

impl<Key> Default for Questions<Key> {
    fn default() -> Self {
        Self {
            asked: 0,
            open: Vec::new(),
        }
    }
}

impl<Key> Questions<Key> {
    /// Opens a question and sets its id: its number in the attempt, which is the same in every replay. The agents' own ids
    /// are unique among their open questions only.
    pub(super) fn open(&mut self, key: Key, mut question: Question) -> Question {
        self.asked += 1;
        question.id = self.asked.to_string();
        self.open.push((question.clone(), key));
        question
    }

    /// Closes the question if it is open and has this option.
    pub(super) fn close(&mut self, id: &str, option: &str) -> Option<Key> {
        let at = self.open.iter().position(|(question, _)| {
            question.id == id && question.options.iter().any(|known| known.option_id == option)
        })?;
        Some(self.open.remove(at).1)
    }

    /// Closes the question that the agent has withdrawn, and returns its id.
    pub(super) fn withdraw(&mut self, is_withdrawn: impl Fn(&Key) -> bool) -> Option<String> {
        let at = self.open.iter().position(|(_, key)| is_withdrawn(key))?;
        Some(self.open.remove(at).0.id)
    }

    /// Closes all questions.
    pub(super) fn close_all(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.open).into_iter().map(|(_, key)| key).collect()
    }
}
