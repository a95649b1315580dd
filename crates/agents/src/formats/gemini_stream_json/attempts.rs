//! Finds repeated attempts in the chunks of an answer.
//!
//! After a broken stream, gemini asks the model again and passes the new answer on without any mark. What shows it: gemini
//! waits for a second or more, and then the text begins again from its start. When all that an attempt has said has come
//! again, it is void.

use jiff::Timestamp;

use crate::output::observer::{TEXT_LIMIT, push_text};

/// Gemini waits for at least a second before it asks again.
const WAIT_MS: i64 = 900;

/// So many attempts before are known.
const MAX_EARLIER: usize = 16;

/// A longer text is not looked for again: it is not kept as a whole.
const MAX_TEXT: usize = TEXT_LIMIT - 4;

/// The attempts of one answer.
#[derive(Default, Clone)]
pub(super) struct Attempts {
    /// The number of the message that the chunks belong to.
    message: u64,
    /// Its text.
    text: String,
    /// What may come again: the number and the text of the attempts before.
    earlier: Vec<(u64, String)>,
    /// The time of the last chunk.
    last: Option<Timestamp>,
    is_over: bool,
}

impl Attempts {
    /// Takes a chunk; answers which messages are void now.
    pub(super) fn push(&mut self, chunk: &str, time: &str) -> Vec<u64> {
        let time: Option<Timestamp> = time.parse().ok();
        if std::mem::take(&mut self.is_over) || self.message == 0 {
            self.begin();
            self.earlier.clear();
        } else if self.begins_again(chunk, time) {
            let before = (self.message, std::mem::take(&mut self.text));
            self.begin();
            self.earlier.push(before);
            if self.earlier.len() > MAX_EARLIER {
                self.earlier.remove(0);
            }
        }
        self.last = time;
        push_text(&mut self.text, chunk);
        let text = &self.text;
        // Another text follows: it was no second attempt, or the model has answered otherwise.
        self.earlier
            .retain(|(_, earlier)| earlier.starts_with(text) || text.starts_with(earlier));
        let void = self.earlier.extract_if(.., |(_, earlier)| text.starts_with(&*earlier));
        void.map(|(message, _)| message).collect()
    }

    /// The number of the message that the last chunk belongs to.
    pub(super) fn message(&self) -> u64 {
        self.message
    }

    /// The answer is over: a tool call follows.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    fn begin(&mut self) {
        self.message = self.message.saturating_add(1);
        self.text.clear();
    }

    fn begins_again(&self, chunk: &str, time: Option<Timestamp>) -> bool {
        let waited = match (self.last, time) {
            (Some(last), Some(time)) => time.as_millisecond().saturating_sub(last.as_millisecond()) >= WAIT_MS,
            _ => true,
        };
        let is_start = self.text.starts_with(chunk) || chunk.starts_with(&self.text);
        let is_whole = self.text.len() < MAX_TEXT;
        waited && is_start && is_whole && !chunk.trim().is_empty() && !self.text.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that is not void.
    fn answer(chunks: &[(&str, u32)]) -> String {
        let mut attempts = Attempts::default();
        let mut parts: Vec<(u64, &str)> = Vec::new();
        for (chunk, second) in chunks {
            let void = attempts.push(chunk, &format!("2026-11-21T04:13:{second:02}.000Z"));
            parts.push((attempts.message(), chunk));
            parts.retain(|(message, _)| !void.contains(message));
        }
        parts.into_iter().map(|(_, chunk)| chunk).collect()
    }

    #[test]
    fn an_attempt_that_comes_again_is_void() {
        let thrice = [
            ("one ", 1),
            ("two ", 1),
            ("one ", 2),
            ("two ", 2),
            ("one ", 4),
            ("two ", 4),
            ("three", 4),
        ];
        assert_eq!(answer(&thrice), "one two three");
        let shorter = [("one ", 1), ("two ", 1), ("one ", 2), ("one two three", 4)];
        assert_eq!(answer(&shorter), "one two three");
    }

    #[test]
    fn text_that_repeats_itself_stays() {
        let at_once = [("one ", 1), ("two ", 1), ("one ", 1), ("two ", 1)];
        assert_eq!(answer(&at_once), "one two one two ");
        let other = [("one ", 1), ("two ", 1), ("one ", 3), ("more", 3)];
        assert_eq!(answer(&other), "one two one more");
        assert_eq!(answer(&[("\n", 1), ("\n", 3), ("x", 3)]), "\n\nx");
    }
}
