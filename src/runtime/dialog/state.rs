//! The state of the dialog with an agent; no I/O.
//!
//! The agent's driver says what is due, from the journal alone; what the keeper has written to the agent is in the
//! journal, too. The difference is still to be written, by the server that began the dialog or by the one that follows
//! it after a `kill -9`.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use promptd_agents::{Driver, Effect, Question};
use promptd_model::decode_output;
use promptd_model::{BY_AGENT, CANCELLED, Observation, Output, PermissionAnswer, Prompt, Stream};

/// The dialog of one attempt.
pub(crate) struct DialogState {
    /// The agent starts MCP servers before it takes the prompt.
    pub(crate) starts_servers: bool,
    driver: Box<dyn Driver>,
    /// Makes its questions' ids unique in the session: a late or repeated answer must not allow what another turn or
    /// attempt asks.
    prefix: String,
    /// Lines that are due and not in the journal as written, in order, with their newlines.
    due: VecDeque<Vec<u8>>,
    /// The last bytes that were written to the agent, where they do not end a line.
    unfinished: Vec<u8>,
    /// How many bytes were written to it.
    written_to: u64,
    questions: Vec<Question>,
    /// The ids of questions that the agent has withdrawn.
    withdrawn: Vec<String>,
    /// Messages that the agent may refuse, by their numbers.
    steered: BTreeMap<u64, Prompt>,
    /// Messages that came after the agent had given its final result, or that it refused.
    late_messages: Vec<Prompt>,
    closes: bool,
    interrupted: bool,
}

impl DialogState {
    pub(crate) fn new(driver: Box<dyn Driver>, turn: u32, attempt: u32) -> Self {
        let mut dialog = Self {
            starts_servers: false,
            driver,
            prefix: format!("{turn}.{attempt}."),
            due: VecDeque::new(),
            unfinished: Vec::new(),
            written_to: 0,
            questions: Vec::new(),
            withdrawn: Vec::new(),
            steered: BTreeMap::new(),
            late_messages: Vec::new(),
            closes: false,
            interrupted: false,
        };
        dialog.collect();
        dialog
    }

    /// Takes a line that the agent wrote.
    pub(crate) fn read_line(&mut self, stream: Stream, line: &[u8]) {
        self.driver.observe_line(stream, line);
        self.collect();
    }

    /// Takes a `stdin` record.
    pub(crate) fn record_stdin(&mut self, output: &Output) {
        self.written_to = output.to;
        decode_output(output, &mut self.unfinished);
        while let Some(end) = memchr::memchr(b'\n', &self.unfinished) {
            let line: Vec<u8> = self.unfinished.drain(..=end).collect();
            self.line_written(&line);
        }
    }

    fn line_written(&mut self, line: &[u8]) {
        let was_due = self.remove_due(line);
        let is_interrupt = self.driver.observe_written(line.trim_ascii_end());
        self.collect();
        if !was_due && is_interrupt {
            // Nothing in the journal asked for it: a former server interrupted the turn.
            self.remove_due(line);
            self.interrupted = true;
            self.questions.clear();
        }
    }

    /// Removes a line from those that are due; false where it is none of them.
    fn remove_due(&mut self, line: &[u8]) -> bool {
        let same_bytes = |due: &Vec<u8>| due == line;
        let place = self.due.iter().position(same_bytes).or_else(|| {
            // A server of another version may write the same message in another way.
            let name = MessageId::of(line)?;
            self.due
                .iter()
                .position(|due| MessageId::of(due).as_ref() == Some(&name))
        });
        place.and_then(|place| self.due.remove(place)).is_some()
    }

    /// Takes a `permission_answer` record.
    pub(crate) fn record_answer(&mut self, answer: &PermissionAnswer) {
        if answer.by == BY_AGENT {
            return;
        }
        if answer.option == CANCELLED {
            // No protocol can say that nothing was chosen; only that the turn is to end.
            self.interrupt();
        }
        self.questions.retain(|question| question.id != answer.id);
        if let Some(id) = answer.id.strip_prefix(&self.prefix) {
            self.driver.answer(id, &answer.option, &answer.details);
            self.collect();
        }
    }

    /// Takes a `steer` record.
    pub(crate) fn record_steer(&mut self, seq: u64, message: Prompt) {
        if self.closes {
            self.late_messages.push(message);
        } else if !self.interrupted {
            if self.driver.steer(seq, &message.text, &message.blocks) {
                self.steered.insert(seq, message);
            }
            self.collect();
        }
    }

    /// Messages that came after the agent had given its final result, or that it refused.
    pub(crate) fn take_late_messages(&mut self) -> Vec<Prompt> {
        std::mem::take(&mut self.late_messages)
    }

    /// Ends the turn in the agent's own protocol.
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
                Effect::Steered { number, taken } => {
                    let message = self.steered.remove(&number);
                    self.late_messages.extend(message.filter(|_| !taken));
                }
                Effect::Close => {
                    self.closes = true;
                    // The agent reads no answer any more.
                    self.questions.clear();
                }
            }
        }
    }

    /// What the agent has reported so far.
    pub(crate) fn observation(&self) -> &Observation {
        self.driver.observation()
    }

    /// Open questions; the journal may hold some of them.
    pub(crate) fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Questions that need no answer any more; some may be open in the journal.
    pub(crate) fn withdrawn(&self) -> &[String] {
        &self.withdrawn
    }

    /// Whether the turn was interrupted, also through a former server.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// The bytes to write to the agent next. To be called when the journal is read to its end.
    pub(crate) fn due(&mut self) -> Vec<u8> {
        if self.unfinished.is_empty() {
            return self.due.iter().flatten().copied().collect();
        }
        // A server was killed while it wrote a line; the rest of that line comes first.
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

    /// How many bytes were written to the agent.
    pub(crate) fn written_to(&self) -> u64 {
        self.written_to
    }

    /// The request that the agent has to answer before it gets the prompt.
    pub(crate) fn awaited_method(&self) -> Option<&'static str> {
        self.driver.awaited_method().filter(|_| !self.closes)
    }

    /// Ends the turn as failed: the agent does not answer.
    pub(crate) fn give_up(&mut self, error: &str) {
        self.driver.give_up(error);
        self.collect();
    }

    /// After what is due, the agent's standard input is to be closed.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }
}

/// What identifies a message in the protocols of agents: JSON-RPC's `id` and `method`, and Claude Code's own members.
#[derive(PartialEq)]
struct MessageId([Option<Value>; 4]);

impl MessageId {
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
