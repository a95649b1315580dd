//! One attempt of a turn: its output to updates.

use crate::{Translator, Update};
use promptd_model::{LineAssembler, LinePart, decode_output};
use promptd_model::{Output, Stream};

/// What is open between two records.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) turn: u32,
    lines: [LineAssembler; 2],
    voice: Voice,
}

/// What standard output is.
#[derive(Clone)]
enum Voice {
    /// That of a setup, and none of the agent's.
    Setup,
    /// Lines in the agent's own words.
    Words(Box<dyn Translator>),
    /// The agent's answer as it is; and the beginning of a character that was cut in two.
    Text(Vec<u8>),
}

impl Attempt {
    /// An attempt that begins; without a translator the agent's bytes are its answer.
    pub(super) fn started(turn: u32, translator: Option<Box<dyn Translator>>) -> Self {
        Self::with(turn, translator.map_or(Voice::Text(Vec::new()), Voice::Words))
    }

    /// A step of a setup.
    pub(super) fn setup(turn: u32) -> Self {
        Self::with(turn, Voice::Setup)
    }

    fn with(turn: u32, voice: Voice) -> Self {
        let lines = <[LineAssembler; 2]>::default();
        Self { turn, lines, voice }
    }

    /// How many bytes wait for what follows them.
    pub(super) fn held(&self) -> usize {
        let [stdout, stderr] = &self.lines;
        let text = match &self.voice {
            Voice::Text(open) => open.len(),
            Voice::Setup | Voice::Words(_) => 0,
        };
        stdout.buffered().saturating_add(stderr.buffered()).saturating_add(text)
    }

    /// What a chunk of output says.
    pub(super) fn output(&mut self, stream: Stream, output: &Output) -> Vec<Update> {
        if let (Stream::Stdout, Voice::Text(open)) = (stream, &mut self.voice) {
            return text(open, output).into_iter().collect();
        }
        let part = self.lines_of(stream).push(output);
        part.map_or_else(Vec::new, |part| {
            let eol = part.ends;
            self.part(stream, part, eol)
        })
    }

    /// What no newline has ended, when nothing more will come.
    pub(super) fn finish(&mut self) -> Vec<Update> {
        Stream::BOTH
            .into_iter()
            .flat_map(|stream| self.finish_stream(stream))
            .collect()
    }

    /// The same of one stream.
    pub(super) fn finish_stream(&mut self, stream: Stream) -> Vec<Update> {
        if let (Stream::Stdout, Voice::Text(open)) = (stream, &mut self.voice) {
            let line = std::mem::take(open);
            let eol = false;
            let due = !line.is_empty();
            return due.then_some(Update::Raw { stream, line, eol }).into_iter().collect();
        }
        let part = self.lines_of(stream).finish();
        // No newline has ended it, as in the journal.
        part.map_or_else(Vec::new, |part| self.part(stream, part, false))
    }

    fn lines_of(&mut self, stream: Stream) -> &mut LineAssembler {
        let [stdout, stderr] = &mut self.lines;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn part(&mut self, stream: Stream, part: LinePart, eol: bool) -> Vec<Update> {
        let known = match &mut self.voice {
            Voice::Words(translator) if stream == Stream::Stdout && part.is_whole() => translator.line(&part.bytes),
            Voice::Setup | Voice::Words(_) | Voice::Text(_) => None,
        };
        known.unwrap_or_else(|| {
            let line = part.bytes;
            vec![Update::Raw { stream, line, eol }]
        })
    }
}

/// Output that is an answer as it is, at once; only half a character waits for its other half.
fn text(open: &mut Vec<u8>, output: &Output) -> Option<Update> {
    decode_output(output, open);
    let bytes = std::mem::take(open);
    match String::from_utf8(bytes) {
        Ok(text) => (!text.is_empty()).then(|| Update::message(text)),
        Err(error) => {
            let cut = error.utf8_error();
            // Nothing but the beginning of one: the journal gives it a record of its own.
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

/// A chunk that nothing is known of but where it was written.
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
