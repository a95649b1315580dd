//! What is still to be said in a conversation with an agent; pure bookkeeping.
//!
//! The agent's driver says what is due, from the journal alone; what the keeper has written to the agent stands in the
//! journal, too. The difference is what is still to be said, whoever finds it out: the server that began the
//! conversation, or the one that follows it after a `kill -9`.

use std::collections::VecDeque;

use serde_json::Value;

use promptd_agents::{Driver, Effect, Question};
use promptd_model::decode_output;
use promptd_model::{BY_AGENT, CANCELLED, Observation, Output, PermissionAnswer, Stream};

/// The conversation of one attempt.
pub(crate) struct Conversation {
    driver: Box<dyn Driver>,
    /// What makes its questions' ids unique in the session: an answer that comes late, or again, must not allow what
    /// another turn or attempt asks.
    prefix: String,
    /// Lines that are due and do not stand in the journal as written, in order, with their newlines.
    due: VecDeque<Vec<u8>>,
    /// The last bytes that were written to the agent, where they do not end a line.
    unfinished: Vec<u8>,
    /// How many bytes were written to it.
    written_to: u64,
    questions: Vec<Question>,
    /// The ids of those that the agent has taken back.
    withdrawn: Vec<String>,
    closes: bool,
    interrupted: bool,
}

impl Conversation {
    pub(crate) fn new(driver: Box<dyn Driver>, turn: u32, attempt: u32) -> Self {
        let mut conversation = Self {
            driver,
            prefix: format!("{turn}.{attempt}."),
            due: VecDeque::new(),
            unfinished: Vec::new(),
            written_to: 0,
            questions: Vec::new(),
            withdrawn: Vec::new(),
            closes: false,
            interrupted: false,
        };
        conversation.collect();
        conversation
    }

    /// The agent wrote a line.
    pub(crate) fn line(&mut self, stream: Stream, line: &[u8]) {
        self.driver.observe_line(stream, line);
        self.collect();
    }

    /// A `stdin` record.
    pub(crate) fn written(&mut self, output: &Output) {
        self.written_to = output.to;
        decode_output(output, &mut self.unfinished);
        while let Some(end) = memchr::memchr(b'\n', &self.unfinished) {
            let line: Vec<u8> = self.unfinished.drain(..=end).collect();
            self.wrote(&line);
        }
    }

    fn wrote(&mut self, line: &[u8]) {
        let was_due = self.is_said(line);
        self.driver.observe_written(line.trim_ascii_end());
        self.collect();
        if !was_due {
            // Nothing in the journal asked for it: a former server was told to interrupt the turn.
            self.is_said(line);
            self.interrupted = true;
            self.questions.clear();
        }
    }

    /// Takes a line off those that are due, if it is one.
    fn is_said(&mut self, line: &[u8]) -> bool {
        let same_bytes = |due: &Vec<u8>| due == line;
        let place = self.due.iter().position(same_bytes).or_else(|| {
            // A server of another version may word the same message otherwise.
            let name = Name::of(line)?;
            self.due.iter().position(|due| Name::of(due).as_ref() == Some(&name))
        });
        place.and_then(|place| self.due.remove(place)).is_some()
    }

    /// A `permission_answer` record.
    pub(crate) fn answered(&mut self, answer: &PermissionAnswer) {
        if answer.by == BY_AGENT {
            return;
        }
        if answer.option == CANCELLED {
            // No agent can be told that nothing was chosen, but that the turn is to end.
            self.interrupt();
        }
        self.questions.retain(|question| question.id != answer.id);
        if let Some(id) = answer.id.strip_prefix(&self.prefix) {
            self.driver.answer(id, &answer.option);
            self.collect();
        }
    }

    /// The turn is to end, in the agent's own way.
    pub(crate) fn interrupt(&mut self) {
        if !self.interrupted && !self.closes {
            self.interrupted = true;
            self.driver.interrupt();
            self.collect();
            // The driver has answered what it asked.
            self.questions.clear();
        }
    }

    fn collect(&mut self) {
        for effect in self.driver.take_effects() {
            match effect {
                Effect::Write(lines) => {
                    let lines = lines.split_inclusive(|byte| *byte == b'\n');
                    self.due.extend(lines.map(<[u8]>::to_vec));
                }
                Effect::Ask(mut question) => {
                    question.id.insert_str(0, &self.prefix);
                    self.questions.push(question);
                }
                Effect::Withdraw(id) => {
                    let id = format!("{}{id}", self.prefix);
                    self.questions.retain(|question| question.id != id);
                    self.withdrawn.push(id);
                }
                Effect::Close => {
                    self.closes = true;
                    // Nobody reads an answer any more.
                    self.questions.clear();
                }
            }
        }
    }

    /// What the agent has said so far.
    pub(crate) fn observation(&self) -> &Observation {
        self.driver.observation()
    }

    /// Questions that nobody has answered; the journal may hold some of them.
    pub(crate) fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Questions that need no answer any more; the journal may hold some of them as open.
    pub(crate) fn withdrawn(&self) -> &[String] {
        &self.withdrawn
    }

    /// Whether somebody has interrupted the turn, be it by way of a former server.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// What is to be written to the agent next, behind the bytes that it has got.
    ///
    /// To be asked when the journal is read to its end.
    pub(crate) fn due(&mut self) -> Vec<u8> {
        if self.unfinished.is_empty() {
            return self.due.iter().flatten().copied().collect();
        }
        // A server was killed while it was handing a line over; the rest of that line comes first.
        let mut begun = self.begun();
        if begun.is_none() {
            // Nothing in the journal asked for that line: the turn was being interrupted.
            self.interrupt();
            begun = self.begun();
        }
        let rest = begun
            .and_then(|begun| self.due.get(begun)?.strip_prefix(self.unfinished.as_slice()))
            .unwrap_or(b"\n");
        let others = self.due.iter().enumerate().filter(|(place, _)| Some(*place) != begun);
        let mut bytes = rest.to_vec();
        others.for_each(|(_, due)| bytes.extend_from_slice(due));
        bytes
    }

    fn begun(&self) -> Option<usize> {
        self.due.iter().position(|due| due.starts_with(&self.unfinished))
    }

    /// How many bytes the agent has got.
    pub(crate) fn written_to(&self) -> u64 {
        self.written_to
    }

    /// All is said behind what is due: the agent's standard input is to be closed.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }
}

/// What makes a message the one it is, in the protocols that agents speak: JSON-RPC's `id` and `method`, and what
/// Claude Code has in their place.
#[derive(PartialEq)]
struct Name([Option<Value>; 4]);

impl Name {
    fn of(line: &[u8]) -> Option<Self> {
        let Value::Object(mut message) = serde_json::from_slice(line).ok()? else {
            return None;
        };
        let name = ["id", "method", "type", "request_id"].map(|member| message.remove(member));
        name.iter().any(Option::is_some).then_some(Self(name))
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
