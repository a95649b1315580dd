//! Readers that get clean objects instead of the lines that an agent wrote.

use super::json_line::{ChunkPath, Halves, JsonPart, json_parts};
use crate::output::observer::Observer;
use crate::output::update::{Translator, Update};
use promptd_model::{Observation, Stream};

/// A reader of an agent's output, behind the one place where lines are read.
#[derive(Clone)]
pub(crate) struct Clean<R> {
    halves: Halves,
    pub(crate) reader: R,
}

impl<R> Clean<R> {
    /// For a format whose chunks have their text at these paths.
    pub(crate) fn new(chunks: &'static [ChunkPath], reader: R) -> Self {
        Self {
            halves: Halves::new(chunks),
            reader,
        }
    }

    /// Gives an observer each object of a line, or the line itself if it has none.
    pub(crate) fn observe(&mut self, stream: Stream, line: &[u8], mut observe: impl FnMut(&mut R, &[u8])) {
        let parts = match stream {
            Stream::Stdout => json_parts(line),
            Stream::Stderr => Vec::new(),
        };
        if parts.is_empty() {
            return observe(&mut self.reader, line);
        }
        for part in parts {
            let JsonPart::Object(object) = part else { continue };
            let clean = self.halves.clean(object);
            if let Some(before) = clean.before {
                observe(&mut self.reader, before.as_bytes());
            }
            observe(&mut self.reader, &clean.object);
        }
    }
}

impl Observer for Clean<Box<dyn Observer>> {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        self.observe(stream, line, |observer, line| observer.observe_line(stream, line));
    }

    fn observation(&self) -> &Observation {
        self.reader.observation()
    }
}

impl Translator for Clean<Box<dyn Translator>> {
    /// The line is known if one of its objects is. The other parts are then passed on as they are.
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let mut updates = Vec::new();
        let mut is_known = false;
        let parts = json_parts(line);
        let is_only_part = parts.len() == 1;
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.into_iter().enumerate() {
            let eol = index == last;
            let raw = |line: &[u8]| Update::raw_part(line, eol);
            let object = match part {
                JsonPart::Text(text) => {
                    updates.push(raw(text));
                    continue;
                }
                JsonPart::Object(object) => object,
            };
            let clean = self.halves.clean(object);
            let before = clean
                .before
                .and_then(|before| self.reader.translate_line(before.as_bytes()));
            is_known |= before.is_some();
            updates.extend(before.into_iter().flatten());
            let as_written = if is_only_part { line } else { object };
            match self.reader.translate_line(&clean.object) {
                None => updates.push(raw(as_written)),
                Some(translated) => {
                    is_known = true;
                    // What is passed on as it is was written by the agent, not by us.
                    updates.extend(translated.into_iter().map(|update| match update {
                        Update::Raw { .. } => raw(as_written),
                        update @ (Update::Acp(_) | Update::Superseded { .. } | Update::Usage(_)) => update,
                    }));
                }
            }
        }
        is_known.then_some(updates)
    }
}
