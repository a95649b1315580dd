//! Translates the journal's lines, in order, into lines of the view.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

use super::attempt::{Attempt, raw};
use super::line::{Line, head_of, replay_start, update_line};
use super::long_prompt::LongPrompt;
use super::past::Past;
use crate::formats::format::Format;
use crate::output::update::{Translator, Update};
use promptd_model::{Body, Gap, Head, Output, Prompt, RecordKind, SessionState, Status, Stream, decode, parse_head};

/// The translation of one journal. A clone continues from the point where it was made.
#[derive(Clone)]
pub struct Translation {
    /// A translator that has read nothing; each attempt gets a clone.
    translator: Option<Box<dyn Translator>>,
    /// Records up to this one give no lines.
    after: u64,
    /// The last record that was read.
    seq: u64,
    attempt: Option<Attempt>,
    /// The start of a line whose rest has not come yet.
    partial: BytesMut,
    /// A prompt whose rest has not come yet; then `partial` continues its text.
    prompt: Option<LongPrompt>,
    past: Past,
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translation")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Translation {
    /// For a session whose agent has this translator. Without a translator, the agent's bytes are its answer.
    ///
    /// Gives the lines after the record `after`. The input has to start after [`super::replay_start`].
    pub fn new(translator: Option<Box<dyn Translator>>, after: u64) -> Self {
        Self {
            translator,
            after,
            seq: after,
            attempt: None,
            partial: BytesMut::new(),
            prompt: None,
            past: Past::default(),
        }
    }

    /// With what the turns before have used, where reading starts in the middle of the journal.
    #[must_use]
    pub fn with_past(self, state: &SessionState) -> Self {
        let past = Past::of(state, replay_start(state, self.after));
        Self { past, ..self }
    }

    /// A new translation for the lines after another record.
    #[must_use]
    pub fn restarted_after(self, after: u64, state: &SessionState) -> Self {
        Self::new(self.translator, after).with_past(state)
    }

    /// The last record that was read.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How many bytes are kept because their line has not ended.
    pub fn buffered_bytes(&self) -> usize {
        let open = self.attempt.as_ref().map_or(0, Attempt::buffered_bytes);
        open.saturating_add(self.partial.len())
    }

    /// Takes the next bytes of the journal. They may end anywhere in a line.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some((text, behind)) = memchr::memchr(b'\n', rest).and_then(|newline| rest.split_at_checked(newline))
        {
            rest = behind.get(1..).unwrap_or_default();
            if self.partial.is_empty() && self.prompt.is_none() {
                self.push_line(text, &mut lines);
            } else {
                self.partial.extend_from_slice(text);
                let text = std::mem::take(&mut self.partial);
                if let Some(prompt) = self.prompt.take() {
                    self.push_prompt(prompt, &text, true, &mut lines);
                } else {
                    self.push_line(&text, &mut lines);
                }
            }
        }
        self.partial.extend_from_slice(rest);
        self.push_open_prompt(&mut lines);
        lines
    }

    /// Gives what there is of a long prompt, so that nobody has to hold all of it.
    fn push_open_prompt(&mut self, lines: &mut Vec<Line>) {
        let prompt = self.prompt.take().or_else(|| {
            let (prompt, text) = LongPrompt::find(&self.partial)?;
            self.seq = prompt.seq;
            self.partial.advance(text);
            Some(prompt)
        });
        if let Some(prompt) = prompt {
            let text = std::mem::take(&mut self.partial);
            let done = self.push_prompt(prompt, &text, false, lines);
            self.partial = BytesMut::from(text.get(done..).unwrap_or_default());
        }
    }

    /// Gives the updates of the text of a long prompt; answers how much of it is in them.
    fn push_prompt(&mut self, mut prompt: LongPrompt, text: &[u8], ends: bool, lines: &mut Vec<Line>) -> usize {
        let before = lines.len();
        let done = prompt.push(text, ends, lines);
        if prompt.seq <= self.after {
            lines.truncate(before);
        }
        if ends {
            self.past.accept(prompt.turn, prompt.is_fresh);
        }
        self.prompt = Some(prompt).filter(|_| !ends);
        done
    }

    /// Takes the next line of the journal, without its newline.
    pub fn push_line(&mut self, line: &[u8], out: &mut Vec<Line>) {
        let head = parse_head(line);
        self.seq = head.map_or(self.seq, |head| head.seq);
        if let Some((prompt, text)) = LongPrompt::find(line) {
            self.push_prompt(prompt, line.get(text..).unwrap_or_default(), true, out);
            return;
        }
        let (mut updates, is_kept) = match head {
            Some(head) => self.translate_record(head, line),
            None => (Vec::new(), true),
        };
        for update in &mut updates {
            if let Update::Usage(report) = update {
                report.earlier = self.past.used;
            }
        }
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
        if is_kept {
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

    /// The updates of a record, and whether the record itself stays, too.
    fn translate_record(&mut self, head: Head<'_>, line: &[u8]) -> (Vec<Update>, bool) {
        match head.kind {
            RecordKind::Output(stream, _) => match serde_json::from_slice::<Output>(line) {
                Ok(output) => (self.push_output(head.turn, stream, &output), false),
                Err(_) => (Vec::new(), true),
            },
            RecordKind::Other("prompt" | "steer") => match serde_json::from_slice::<Prompt>(line) {
                Ok(prompt) => {
                    self.past.accept(head.turn, prompt.fresh);
                    (
                        vec![Update::prompt(prompt.text).in_message(head.seq.to_string())],
                        false,
                    )
                }
                Err(_) => (Vec::new(), true),
            },
            RecordKind::Other("setup") => (self.start(Attempt::setup(head.turn, head.seq)), true),
            RecordKind::Other("started") => {
                self.past.start(head.turn);
                (
                    self.start(Attempt::new(head.turn, head.seq, self.translator_of(line))),
                    true,
                )
            }
            // A process may outlive its launcher and write more.
            RecordKind::Other("exited") => (self.current(head.turn).map_or_else(Vec::new, Attempt::finish), true),
            RecordKind::Other(kind @ ("retry" | "turn_ended")) => {
                if kind == "turn_ended" {
                    self.past.end(line);
                }
                let mut updates = self.current(head.turn).map_or_else(Vec::new, Attempt::finish);
                if !is_completed(line)
                    && let Some(attempt) = self.current(head.turn)
                {
                    updates.extend(attempt.close_calls());
                }
                self.attempt.take_if(|attempt| attempt.turn == head.turn);
                (updates, true)
            }
            RecordKind::Other("gap") => (self.skip_gap(head.turn, line), true),
            RecordKind::Other(_) => (Vec::new(), true),
        }
    }

    /// The translator of an attempt: a turn can write another format than the session's others.
    fn translator_of(&self, started: &[u8]) -> Option<Box<dyn Translator>> {
        #[derive(Deserialize)]
        struct Started {
            format: Option<String>,
        }
        let own = serde_json::from_slice::<Started>(started).ok();
        match own.and_then(|started| Format::written(&started.format?)) {
            Some(format) => format.new_translator(),
            None => self.translator.clone(),
        }
    }

    fn current(&mut self, turn: u32) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|attempt| attempt.turn == turn)
    }

    fn start(&mut self, attempt: Attempt) -> Vec<Update> {
        let before = self.attempt.replace(attempt);
        before.map_or_else(Vec::new, |mut before| before.finish())
    }

    fn push_output(&mut self, turn: u32, stream: Stream, output: &Output) -> Vec<Update> {
        match self.current(turn).filter(|_| !output.late) {
            Some(attempt) => attempt.push(stream, output),
            // Late output leaves no state, so that the end of a turn is the same for every reader.
            None => vec![raw(stream, output)],
        }
    }

    /// Output after a gap does not continue the line before it.
    fn skip_gap(&mut self, turn: u32, line: &[u8]) -> Vec<Update> {
        let Some(Body::Gap(Gap { stream, .. })) = decode(line).map(|record| record.body) else {
            return Vec::new();
        };
        let stream = Stream::BOTH.into_iter().find(|known| known.name() == stream);
        match (stream, self.current(turn)) {
            (Some(stream), Some(attempt)) => attempt.finish_stream(stream),
            (None, _) | (_, None) => Vec::new(),
        }
    }
}

/// Whether a turn's end says that it completed. Then a call that is still open may go on in the background.
fn is_completed(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Ended {
        status: Option<Status>,
    }
    let ended = serde_json::from_slice::<Ended>(line).ok();
    ended.and_then(|ended| ended.status) == Some(Status::Completed)
}
