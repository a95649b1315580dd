//! One attempt of a turn: its output as updates.

use std::collections::BTreeSet;

use crate::output::lines::long_number::has_long_number;
use crate::output::update::{Translator, Update, numbered};
use promptd_model::{LineAssembler, LinePart, Output, Stream, decode_output};

/// The most calls that are open at once; agents have a few.
const MAX_OPEN_CALLS: usize = 1000;

/// The state between two records.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) turn: u32,
    /// The `seq` of the record with which it began.
    began: u64,
    /// The tool calls that have begun and not ended.
    open_calls: BTreeSet<String>,
    lines: [LineAssembler; 2],
    stdout: Stdout,
}

/// What standard output contains.
#[derive(Clone)]
enum Stdout {
    /// The output of a setup step, not of the agent.
    Setup,
    /// Lines in the agent's format.
    Lines(Box<dyn Translator>),
    /// The agent's answer as it is. The bytes are the start of a character whose rest has not come yet.
    Text(Vec<u8>),
}

impl Attempt {
    /// A new attempt. Without a translator, the agent's bytes are its answer.
    pub(super) fn new(turn: u32, began: u64, translator: Option<Box<dyn Translator>>) -> Self {
        Self::with(turn, began, translator.map_or(Stdout::Text(Vec::new()), Stdout::Lines))
    }

    /// A setup step.
    pub(super) fn setup(turn: u32, began: u64) -> Self {
        Self::with(turn, began, Stdout::Setup)
    }

    fn with(turn: u32, began: u64, stdout: Stdout) -> Self {
        let lines = <[LineAssembler; 2]>::default();
        Self {
            turn,
            began,
            open_calls: BTreeSet::new(),
            lines,
            stdout,
        }
    }

    /// How many bytes wait for the rest of their line or character.
    pub(super) fn buffered_bytes(&self) -> usize {
        let [stdout, stderr] = &self.lines;
        let text = match &self.stdout {
            Stdout::Text(open) => open.len(),
            Stdout::Setup | Stdout::Lines(_) => 0,
        };
        stdout.buffered().saturating_add(stderr.buffered()).saturating_add(text)
    }

    /// Takes a chunk of output.
    pub(super) fn push(&mut self, stream: Stream, output: &Output) -> Vec<Update> {
        if let (Stream::Stdout, Stdout::Text(open)) = (stream, &mut self.stdout) {
            let update = text(open, output).map(|update| update.in_message(numbered(1)).with_unique_id(self.began));
            return update.into_iter().collect();
        }
        let part = self.lines_of(stream).push(output);
        part.map_or_else(Vec::new, |part| {
            let eol = part.ends;
            self.translate_part(stream, part, eol)
        })
    }

    /// Gives the unfinished lines when no more output will come.
    pub(super) fn finish(&mut self) -> Vec<Update> {
        Stream::BOTH
            .into_iter()
            .flat_map(|stream| self.finish_stream(stream))
            .collect()
    }

    /// The same for one stream.
    pub(super) fn finish_stream(&mut self, stream: Stream) -> Vec<Update> {
        if let (Stream::Stdout, Stdout::Text(open)) = (stream, &mut self.stdout) {
            let line = std::mem::take(open);
            let eol = false;
            let is_due = !line.is_empty();
            return is_due
                .then_some(Update::Raw { stream, line, eol })
                .into_iter()
                .collect();
        }
        let part = self.lines_of(stream).finish();
        part.map_or_else(Vec::new, |part| self.translate_part(stream, part, false))
    }

    /// Ends the calls that have not ended, because nothing of the agent runs any more.
    pub(super) fn close_calls(&mut self) -> Vec<Update> {
        let open = std::mem::take(&mut self.open_calls);
        open.into_iter().map(Update::failed_call).collect()
    }

    fn note_calls(&mut self, updates: &[Update]) {
        for (id, has_ended) in updates.iter().filter_map(Update::tool_call_state) {
            if has_ended {
                self.open_calls.remove(id);
            } else if self.open_calls.len() < MAX_OPEN_CALLS {
                self.open_calls.insert(id.to_owned());
            }
        }
    }

    fn lines_of(&mut self, stream: Stream) -> &mut LineAssembler {
        let [stdout, stderr] = &mut self.lines;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn translate_part(&mut self, stream: Stream, part: LinePart, eol: bool) -> Vec<Update> {
        let known = match &mut self.stdout {
            Stdout::Lines(translator) if stream == Stream::Stdout && part.is_whole() => {
                translator.translate_line(&part.bytes)
            }
            Stdout::Setup | Stdout::Lines(_) | Stdout::Text(_) => None,
        };
        let is_exact = known.is_some() && !has_long_number(&part.bytes);
        let unique = |update: Update| update.with_unique_id(self.began);
        let mut updates: Vec<Update> = known.into_iter().flatten().map(unique).collect();
        self.note_calls(&updates);
        let has_raw = updates.iter().any(|update| matches!(update, Update::Raw { .. }));
        if !is_exact && !has_raw {
            // A line that is not known, or of which a number is rounded.
            let line = part.bytes;
            updates.push(Update::Raw { stream, line, eol });
        }
        updates
    }
}

/// Output that is an answer as it is, without a delay. Only an incomplete character waits for its rest.
fn text(open: &mut Vec<u8>, output: &Output) -> Option<Update> {
    decode_output(output, open);
    let bytes = std::mem::take(open);
    match String::from_utf8(bytes) {
        Ok(text) => (!text.is_empty()).then(|| Update::message(text)),
        Err(error) => {
            let cut = error.utf8_error();
            // An incomplete character and nothing else: the journal has it in a record of its own.
            if cut.error_len().is_none() && cut.valid_up_to() == 0 {
                *open = error.into_bytes();
                return None;
            }
            let stream = Stream::Stdout;
            let mut line = error.into_bytes();
            if output.eol {
                line.pop();
            }
            let eol = output.eol;
            Some(Update::Raw { stream, line, eol })
        }
    }
}

/// A chunk of which only the stream is known.
pub(super) fn raw(stream: Stream, output: &Output) -> Update {
    let mut line = Vec::new();
    let plain = Output {
        eol: false,
        ..output.clone()
    };
    decode_output(&plain, &mut line);
    let eol = output.eol;
    Update::Raw { stream, line, eol }
}
