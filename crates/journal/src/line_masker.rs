//! Masks complete lines of a journal.
//!
//! The masked form of a record only depends on the journal up to that record, and only on the last [`WINDOW`] bytes. So
//! no reader waits for later records, a retry sends the same bytes, and it does not matter where reading started, if
//! that was [`CONTEXT`] bytes earlier.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use memchr::memmem::Finder;

use super::unfinished::{Key, StandardStream, UnfinishedTexts};
use promptd_mask::{End, MaskedChunk, Masker, is_wrapped as is_base64_line};
use promptd_model::{Head, RecordKind, parse_head, whole_lines};
use promptd_model::{Stream, len64};

/// Maximum distance between a record and the last chunk of the unfinished line that it continues.
const WINDOW: u64 = if cfg!(test) { 2 << 10 } else { 64 << 10 };

/// How far before the first record reading starts. Whether the end of a chunk was hidden depends on its own window, so
/// this is two windows, plus space for the escaped lines of chunks.
pub(super) const CONTEXT: u64 = 4 * WINDOW;

/// Maximum length of an output record without its bytes.
const HEAD: usize = 256;

/// Words without their first letters, which may be capital, in lines that may have a part of a text.
const PART_WORDS: [&[u8]; 5] = [b"elta", b"hunk", b"artial", b"pdated", b"token"];

/// Keys whose values are fixed words of the format. Callers compare them, so they are not masked.
pub(super) const FORMAT_KEYS: [&[u8]; 7] = [
    b"type",
    b"time",
    b"status",
    b"cause",
    b"stop_reason",
    b"stream",
    b"signal",
];

/// Masks consecutive lines.
#[derive(Debug)]
pub(super) struct LineMasker {
    masker: Arc<Masker>,
    /// The texts that may continue.
    unfinished: UnfinishedTexts,
    finders: Finders,
    /// [`WINDOW`], or another one in tests.
    window: u64,
}

/// Where a record is in the journal.
#[derive(Clone, Copy, Debug)]
struct Position {
    begin: u64,
    end: u64,
}

#[derive(Debug)]
struct Finders {
    eol: Finder<'static>,
    data: Finder<'static>,
    base64: Finder<'static>,
    parts: [Finder<'static>; 5],
}

impl LineMasker {
    pub(super) fn new(masker: Arc<Masker>) -> Self {
        let finders = Finders {
            eol: Finder::new(b",\"eol\":false"),
            data: Finder::new(b",\"data\":\""),
            base64: Finder::new(b",\"base64\":\""),
            parts: PART_WORDS.map(Finder::new),
        };
        Self {
            masker,
            unfinished: UnfinishedTexts::default(),
            finders,
            window: WINDOW,
        }
    }

    /// Whether it uses this masker.
    pub(super) fn uses(&self, masker: &Arc<Masker>) -> bool {
        Arc::ptr_eq(&self.masker, masker)
    }

    pub(super) fn masker(&self) -> &Masker {
        &self.masker
    }

    /// Forgets all earlier lines.
    pub(super) fn clear(&mut self) {
        self.unfinished.clear();
    }

    /// Masks complete lines that start at `at` in the journal. Returns the same buffer if nothing is hidden.
    pub(super) fn mask(&mut self, lines: Bytes, at: u64) -> Bytes {
        let window = self.window;
        self.unfinished.forget_before(at, window);
        if self.unfinished.is_empty() && !self.may_matter(&lines) {
            return lines;
        }
        let mut shown = Vec::with_capacity(lines.len());
        let mut begin = at;
        for line in whole_lines(&lines) {
            let end = begin.saturating_add(len64(line)).saturating_add(1);
            shown.extend_from_slice(&self.line(line, Position { begin, end }));
            shown.push(b'\n');
            begin = end;
        }
        if shown == lines { lines } else { shown.into() }
    }

    /// Whether the lines contain a secret, or a chunk that must be decoded to know, or something that may continue.
    fn may_matter(&self, lines: &[u8]) -> bool {
        // In strings quotes are escaped, so these are only found as fields.
        self.finders.eol.find(lines).is_some()
            || self.finders.base64.find(lines).is_some()
            || self.has_parts(lines)
            || whole_lines(lines).any(ends_in_base64)
            || self.masker.finds(lines)
    }

    /// Whether there may be a part of a text that an agent writes in several lines.
    fn has_parts(&self, lines: &[u8]) -> bool {
        self.finders.parts.iter().any(|word| word.find(lines).is_some())
    }

    fn line<'a>(&mut self, line: &'a [u8], position: Position) -> Cow<'a, [u8]> {
        let Some(head) = parse_head(line) else {
            return self.masker.bytes(line);
        };
        if let Some(stream) = standard_stream(&head) {
            let key = Key {
                turn: head.turn,
                stream,
                text: None,
            };
            return self.output(line, key, position);
        }
        if self.masker.finds(line) {
            return self.masker.json(line, &FORMAT_KEYS);
        }
        Cow::Borrowed(line)
    }

    fn output<'a>(&mut self, line: &'a [u8], key: Key, position: Position) -> Cow<'a, [u8]> {
        // Not only before a block: the result may not depend on where blocks begin.
        self.unfinished.forget_line_before(key, position.begin, self.window);
        let fields = line.get(..HEAD).unwrap_or(line);
        let value = |finder: &Finder<'_>| {
            let from = finder.find(fields)?.saturating_add(finder.needle().len());
            Some(from)
        };
        let (text, base64) = (value(&self.finders.data), value(&self.finders.base64));
        // In a text record this field can only be before the text.
        let before_text = fields.get(..text.unwrap_or(fields.len())).unwrap_or(fields);
        let ends = self.finders.eol.find(before_text).is_none();
        let continues = !ends || ends_in_base64(line) || self.has_parts(line);
        if !continues && self.unfinished.get(key).is_none() && base64.is_none() && !self.masker.finds(line) {
            return Cow::Borrowed(line);
        }
        let from = text.or(base64).unwrap_or(line.len());
        let (before, value) = line.split_at_checked(from).unwrap_or((line, &[]));
        let value = value.strip_suffix(b"\"}").unwrap_or_default();
        // Text without a backslash is not escaped in JSON, and neither is its masked form.
        let escaped = text.is_some() && memchr::memchr(b'\\', value).is_some();
        let bytes = match (text.is_some(), escaped) {
            (true, false) => Some(Cow::Borrowed(value)),
            (true, true) => unescape(value).map(|text| Cow::Owned(text.into_bytes())),
            (false, _) => BASE64.decode(value).ok().map(Cow::Owned),
        };
        let Some(bytes) = bytes else {
            return self.masker.bytes(line);
        };
        let Cow::Owned(shown) = self.agent_output(key, &bytes, ends, position) else {
            return Cow::Borrowed(line);
        };
        let mut masked = Vec::with_capacity(line.len());
        masked.extend_from_slice(before);
        match (text.is_some(), escaped) {
            (true, false) => masked.extend_from_slice(&shown),
            (true, true) => masked.extend(escape(shown)),
            (false, _) => masked.extend_from_slice(BASE64.encode(shown).as_bytes()),
        }
        masked.extend_from_slice(b"\"}");
        Cow::Owned(masked)
    }

    /// Masks a line of an agent, or a chunk of one.
    fn agent_output<'a>(&mut self, key: Key, bytes: &'a [u8], ends: bool, position: Position) -> Cow<'a, [u8]> {
        let end = if ends { End::Line } else { End::Open };
        let is_whole = ends && self.unfinished.get(key).is_none_or(|line| line.ended);
        if is_whole {
            let masker = Arc::clone(&self.masker);
            let shown = masker.line(bytes, end, &mut |text, inside| {
                let text = Some(text);
                let key = Key { text, ..key };
                let mask = Masker::string_chunk;
                match self.chunk(mask, key, inside, End::Open, position).bytes {
                    Cow::Owned(shown) => Some(shown),
                    Cow::Borrowed(_) => None,
                }
            });
            if let Some(shown) = shown {
                self.unfinished.remove(key);
                return shown;
            }
        }
        self.chunk(Masker::chunk, key, bytes, end, position).bytes
    }

    fn chunk<'a>(
        &mut self,
        mask: for<'b> fn(&Masker, &[u8], bool, &'b [u8], End) -> MaskedChunk<'b>,
        key: Key,
        bytes: &'a [u8],
        end: End,
        position: Position,
    ) -> MaskedChunk<'a> {
        let mut unfinished = self.unfinished.remove(key).unwrap_or_default();
        unfinished.forget_before(position.begin, self.window);
        let before = unfinished.bytes.make_contiguous();
        let shown = mask(&self.masker, before, unfinished.hidden, bytes, end);
        let ended = end == End::Line;
        if !ended || is_base64_line(bytes) {
            if !bytes.is_empty() {
                unfinished.hidden = shown.ends_hidden && !ended;
                unfinished.push(bytes, position.end, self.masker.reach());
            }
            if ended {
                unfinished.push(b"\n", position.end, self.masker.reach());
            }
            unfinished.ended = ended;
            self.unfinished.insert(key, unfinished);
        }
        shown
    }
}

/// Whether a line with this head is a chunk of a stream.
pub(super) fn is_output(line: &[u8]) -> bool {
    parse_head(line).is_some_and(|head| standard_stream(&head).is_some())
}

fn standard_stream(head: &Head<'_>) -> Option<StandardStream> {
    match head.kind {
        RecordKind::Output(Stream::Stdout, _) => Some(StandardStream::Stdout),
        RecordKind::Output(Stream::Stderr, _) => Some(StandardStream::Stderr),
        RecordKind::Other("stdin") => Some(StandardStream::Stdin),
        RecordKind::Other(_) => None,
    }
}

/// Whether the record of an output line ends in base64, which may continue in the next line.
fn ends_in_base64(line: &[u8]) -> bool {
    line.strip_suffix(b"\"}").is_some_and(|line| {
        let line = line.strip_suffix(b"\\r").unwrap_or(line);
        is_base64_line(line)
    })
}

/// Decodes the inside of a JSON string.
fn unescape(inside: &[u8]) -> Option<String> {
    let quoted = [b"\"", inside, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}

/// Encodes the inside of a JSON string.
fn escape(bytes: Vec<u8>) -> Vec<u8> {
    // A mask starts and ends between characters, so text stays valid.
    let text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let quoted = serde_json::to_vec(&text).unwrap_or_default();
    let inside = quoted.get(1..quoted.len().saturating_sub(1));
    inside.unwrap_or_default().to_vec()
}

#[cfg(test)]
#[path = "line_masker_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "line_masker_window_tests.rs"]
mod window_tests;
