//! The journal's lines, one after the other, to those of the view.

use std::fmt;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::Line;
use super::attempt::{Attempt, raw};
use crate::{Translator, Update};
use promptd_model::{Body, Gap, Output, Prompt, Stream};
use promptd_model::{Head, RecordKind, decode, parse_head};

/// A journal on its way into the view; a copy goes on from where it was taken.
#[derive(Clone)]
pub struct Translation {
    /// A translator that has read nothing; each attempt gets a copy.
    fresh: Option<Box<dyn Translator>>,
    /// What is said of records up to this one is not given.
    after: u64,
    /// The last record that was read.
    seq: u64,
    attempt: Option<Attempt>,
    /// The beginning of a line that is larger than a piece.
    begun: BytesMut,
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translation")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Translation {
    /// For a session whose agent's output this translator reads; without one, the agent's bytes are its answer.
    ///
    /// Gives what follows the record `after`, and has to be fed from behind [`super::begin`] on.
    pub fn new(fresh: Option<Box<dyn Translator>>, after: u64) -> Self {
        Self {
            fresh,
            after,
            seq: after,
            attempt: None,
            begun: BytesMut::new(),
        }
    }

    /// The same for what follows another record, having read nothing.
    #[must_use]
    pub fn behind(self, after: u64) -> Self {
        Self::new(self.fresh, after)
    }

    /// The last record that was read.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How many bytes are kept because their line has not ended.
    pub fn held(&self) -> usize {
        let open = self.attempt.as_ref().map_or(0, Attempt::held);
        open.saturating_add(self.begun.len())
    }

    /// The next bytes of the journal, wherever they are cut.
    pub fn bytes(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some((text, behind)) = memchr::memchr(b'\n', rest).and_then(|newline| rest.split_at_checked(newline))
        {
            rest = behind.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                self.line(text, &mut lines);
            } else {
                self.begun.extend_from_slice(text);
                let text = std::mem::take(&mut self.begun);
                self.line(&text, &mut lines);
            }
        }
        self.begun.extend_from_slice(rest);
        lines
    }

    /// The next line of the journal, without its newline.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<Line>) {
        let head = parse_head(line);
        self.seq = head.map_or(self.seq, |head| head.seq);
        let (updates, stays) = match head {
            Some(head) => self.record(head, line),
            None => (Vec::new(), true),
        };
        if self.seq <= self.after {
            return;
        }
        let begin = head_of(line);
        let count = updates.len();
        for (index, update) in updates.iter().enumerate() {
            let index = (count > 1).then_some(index);
            out.push(Line {
                seq: self.seq,
                text: update_line(begin, index, update),
                last: false,
                update_of: Some(head.map_or(0, |head| head.turn)),
            });
        }
        if stays {
            out.push(Line {
                seq: self.seq,
                text: Bytes::copy_from_slice(line),
                last: true,
                update_of: None,
            });
        } else if let Some(last) = out.last_mut().filter(|_| count > 0) {
            last.last = true;
        }
    }

    /// What a record says, and whether it stays itself, too.
    fn record(&mut self, head: Head<'_>, line: &[u8]) -> (Vec<Update>, bool) {
        match head.kind {
            RecordKind::Output(stream, _) => match serde_json::from_slice::<Output>(line) {
                Ok(output) => (self.output(head.turn, stream, &output), false),
                Err(_) => (Vec::new(), true),
            },
            RecordKind::Other("prompt") => match serde_json::from_slice::<Prompt>(line) {
                Ok(prompt) => (vec![Update::prompt(prompt.text)], false),
                Err(_) => (Vec::new(), true),
            },
            RecordKind::Other("setup") => (self.begin(Attempt::setup(head.turn)), true),
            RecordKind::Other("started") => (self.begin(Attempt::started(head.turn, self.fresh.clone())), true),
            // A worker may outlive its launcher and go on.
            RecordKind::Other("exited") => (self.open(head.turn).map_or_else(Vec::new, Attempt::finish), true),
            RecordKind::Other("retry" | "turn_ended") => {
                let updates = self.open(head.turn).map_or_else(Vec::new, Attempt::finish);
                self.attempt.take_if(|attempt| attempt.turn == head.turn);
                (updates, true)
            }
            RecordKind::Other("gap") => (self.gap(head.turn, line), true),
            RecordKind::Other(_) => (Vec::new(), true),
        }
    }

    fn open(&mut self, turn: u32) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|attempt| attempt.turn == turn)
    }

    fn begin(&mut self, attempt: Attempt) -> Vec<Update> {
        let before = self.attempt.replace(attempt);
        before.map_or_else(Vec::new, |mut before| before.finish())
    }

    fn output(&mut self, turn: u32, stream: Stream, output: &Output) -> Vec<Update> {
        match self.open(turn).filter(|_| !output.late) {
            Some(attempt) => attempt.output(stream, output),
            // Of what comes late nothing is kept, so that what ended is over for every reader.
            None => vec![raw(stream, output)],
        }
    }

    /// What follows a gap does not continue the line before it.
    fn gap(&mut self, turn: u32, line: &[u8]) -> Vec<Update> {
        let Some(Body::Gap(Gap { stream, .. })) = decode(line).map(|record| record.body) else {
            return Vec::new();
        };
        let stream = Stream::BOTH.into_iter().find(|known| known.name() == stream);
        match (stream, self.open(turn)) {
            (Some(stream), Some(attempt)) => attempt.finish_stream(stream),
            (None, _) | (_, None) => Vec::new(),
        }
    }
}

/// A record's `seq`, `time` and `turn`, as they stand at its beginning.
fn head_of(line: &[u8]) -> &[u8] {
    let end = memmem::find(line, b"\"type\":").unwrap_or(0);
    line.get(..end).unwrap_or_default()
}

fn update_line(begin: &[u8], index: Option<usize>, update: &Update) -> Bytes {
    let mut text = begin.to_vec();
    if let Some(index) = index {
        text.extend_from_slice(format!("\"index\":{index},").as_bytes());
    }
    text.extend_from_slice(b"\"update\":");
    // Writing to a Vec cannot fail, and an update holds nothing that JSON cannot say.
    let _written = serde_json::to_writer(&mut text, update);
    text.push(b'}');
    text.into()
}

#[cfg(test)]
#[path = "translation_tests.rs"]
mod tests;
