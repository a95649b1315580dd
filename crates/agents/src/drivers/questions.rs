//! The questions of one attempt that wait for an answer.

use super::Question;

/// The open questions, oldest first, each with what the protocol needs for its answer.
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
    /// Opens a question and gives it its id: its number in the attempt, which every replay finds again. The agents'
    /// own ids are unique among their open questions only.
    pub(super) fn ask(&mut self, key: Key, mut question: Question) -> Question {
        self.asked += 1;
        question.id = self.asked.to_string();
        self.open.push((question.clone(), key));
        question
    }

    /// Closes the question if it is open and this is one of its options.
    pub(super) fn answer(&mut self, id: &str, option: &str) -> Option<Key> {
        let at = self.open.iter().position(|(question, _)| {
            question.id == id && question.options.iter().any(|known| known.option_id == option)
        })?;
        Some(self.open.remove(at).1)
    }

    /// Closes the one that the agent has taken back; its id.
    pub(super) fn withdraw(&mut self, is_it: impl Fn(&Key) -> bool) -> Option<String> {
        let at = self.open.iter().position(|(_, key)| is_it(key))?;
        Some(self.open.remove(at).0.id)
    }

    /// Closes all.
    pub(super) fn take(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.open).into_iter().map(|(_, key)| key).collect()
    }
}
