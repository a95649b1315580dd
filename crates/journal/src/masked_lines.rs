//! Whole lines of a journal to what may be shown of them; pure.
//!
//! What is shown of a record is a function of the journal up to and including that record, and of its last
//! [`WINDOW`] bytes only: nobody waits for what follows, a second try sends the same bytes, and it makes no
//! difference where reading began, as long as it was [`RUN_UP`] bytes earlier.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use memchr::memmem::Finder;

use promptd_mask::{Masker, Shown};
use promptd_model::{Head, RecordKind, parse_head, whole_lines};
use promptd_model::{Stream, len64};

/// How far before a record the last chunk of an unfinished line may lie, so that the record continues it.
const WINDOW: u64 = 64 << 10;

/// How far before the first record that matters reading begins. Whether a chunk's end was hidden depends on its
/// own window, so that this is two windows, and room for the escaped line of a chunk shorter than any pattern.
pub(super) const RUN_UP: u64 = 256 << 10;

/// In output records everything but the bytes themselves lies within this.
const HEAD: usize = 256;

/// Keys whose values are words of ours or numbers, by which callers branch.
const OUR_WORDS: [&[u8]; 7] = [
    b"type",
    b"time",
    b"status",
    b"cause",
    b"stop_reason",
    b"stream",
    b"signal",
];

/// Masks lines that follow each other.
#[derive(Debug)]
pub(super) struct MaskedLines {
    masker: Arc<Masker>,
    /// By turn and stream.
    unfinished: BTreeMap<(u32, Channel), Unfinished>,
    finders: Finders,
}

/// What bytes flow through; [`Stream`] and standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Stdin,
    Stdout,
    Stderr,
}

/// The end of a line that is not whole yet.
#[derive(Debug, Default)]
struct Unfinished {
    bytes: VecDeque<u8>,
    /// Of which lines these bytes are: where each ends in the journal, and how many are from there.
    parts: VecDeque<(u64, usize)>,
    hidden: bool,
}

#[derive(Debug)]
struct Finders {
    eol: Finder<'static>,
    data: Finder<'static>,
    base64: Finder<'static>,
}

impl MaskedLines {
    pub(super) fn new(masker: Arc<Masker>) -> Self {
        let finders = Finders {
            eol: Finder::new(b",\"eol\":false"),
            data: Finder::new(b",\"data\":\""),
            base64: Finder::new(b",\"base64\":\""),
        };
        Self {
            masker,
            unfinished: BTreeMap::new(),
            finders,
        }
    }

    /// Whether this masker does it.
    pub(super) fn is_by(&self, masker: &Arc<Masker>) -> bool {
        Arc::ptr_eq(&self.masker, masker)
    }

    /// Forgets what came before.
    pub(super) fn clear(&mut self) {
        self.unfinished.clear();
    }

    /// What may be shown of whole lines that begin at `at` in the journal. Without a copy where nothing is hidden.
    pub(super) fn mask(&mut self, lines: Bytes, at: u64) -> Bytes {
        self.unfinished.retain(|_, unfinished| unfinished.is_near(at));
        if self.unfinished.is_empty() && !self.may_matter(&lines) {
            return lines;
        }
        let mut shown = Vec::with_capacity(lines.len());
        let mut begin = at;
        for line in whole_lines(&lines) {
            let end = begin.saturating_add(len64(line)).saturating_add(1);
            shown.extend_from_slice(&self.line(line, begin, end));
            shown.push(b'\n');
            begin = end;
        }
        if shown == lines { lines } else { shown.into() }
    }

    /// Whether there is a secret as it stands in JSON, or something that has to be decoded to know.
    fn may_matter(&self, lines: &[u8]) -> bool {
        // Inside of strings quotes are escaped, so that these are found as fields only.
        self.finders.eol.find(lines).is_some() || self.finders.base64.find(lines).is_some() || self.masker.finds(lines)
    }

    fn line<'a>(&mut self, line: &'a [u8], begin: u64, end: u64) -> Cow<'a, [u8]> {
        let Some(head) = parse_head(line) else {
            return self.masker.bytes(line);
        };
        if let Some(channel) = channel(&head) {
            return self.output(line, (head.turn, channel), begin, end);
        }
        if self.masker.finds(line) {
            return self.masker.json(line, &OUR_WORDS);
        }
        Cow::Borrowed(line)
    }

    fn output<'a>(&mut self, line: &'a [u8], key: (u32, Channel), begin: u64, end: u64) -> Cow<'a, [u8]> {
        let fields = line.get(..HEAD).unwrap_or(line);
        let value = |finder: &Finder<'_>| {
            let from = finder.find(fields)?.saturating_add(finder.needle().len());
            Some(from)
        };
        let (text, base64) = (value(&self.finders.data), value(&self.finders.base64));
        // In a line of text this is only looked for before the text.
        let before_text = fields.get(..text.unwrap_or(fields.len())).unwrap_or(fields);
        let ends = self.finders.eol.find(before_text).is_none();
        let known = self.unfinished.contains_key(&key);
        if ends && !known && base64.is_none() && !self.masker.finds(line) {
            return Cow::Borrowed(line);
        }
        let from = text.or(base64).unwrap_or(line.len());
        let (before, value) = line.split_at_checked(from).unwrap_or((line, &[]));
        let value = value.strip_suffix(b"\"}").unwrap_or_default();
        // Text without a backslash is in JSON as it is, and so is what is shown of it.
        let escaped = text.is_some() && memchr::memchr(b'\\', value).is_some();
        let bytes = match (text.is_some(), escaped) {
            (true, false) => Some(Cow::Borrowed(value)),
            (true, true) => unescape(value).map(|text| Cow::Owned(text.into_bytes())),
            (false, _) => BASE64.decode(value).ok().map(Cow::Owned),
        };
        let Some(bytes) = bytes else {
            return self.masker.bytes(line);
        };
        let Shown { bytes: shown, .. } = self.chunk(key, &bytes, ends, begin, end);
        let Cow::Owned(shown) = shown else {
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

    fn chunk<'a>(&mut self, key: (u32, Channel), bytes: &'a [u8], ends: bool, begin: u64, end: u64) -> Shown<'a> {
        let mut unfinished = self.unfinished.remove(&key).unwrap_or_default();
        unfinished.forget_before(begin);
        let before = unfinished.bytes.make_contiguous();
        let shown = self.masker.chunk(before, unfinished.hidden, bytes, ends);
        if !ends {
            unfinished.hidden = shown.ends_hidden;
            unfinished.push(bytes, end, self.masker.reach());
            self.unfinished.insert(key, unfinished);
        }
        shown
    }
}

impl Unfinished {
    /// Whether a record that begins at `at` continues it.
    fn is_near(&self, at: u64) -> bool {
        self.parts
            .back()
            .is_some_and(|(end, _)| end.saturating_add(WINDOW) >= at)
    }

    /// Forgets what lies outside of the window of a record that begins at `at`.
    fn forget_before(&mut self, at: u64) {
        if !self.is_near(at) {
            *self = Self::default();
        }
        while let Some((end, length)) = self.parts.front().copied()
            && end.saturating_add(WINDOW) < at
        {
            self.parts.pop_front();
            self.bytes.drain(..length.min(self.bytes.len()));
        }
    }

    fn push(&mut self, bytes: &[u8], end: u64, reach: usize) {
        let bytes = bytes.get(bytes.len().saturating_sub(reach)..).unwrap_or(bytes);
        self.bytes.extend(bytes);
        self.parts.push_back((end, bytes.len()));
        let mut surplus = self.bytes.len().saturating_sub(reach);
        self.bytes.drain(..surplus);
        while surplus > 0
            && let Some((_, length)) = self.parts.front_mut()
        {
            let gone = surplus.min(*length);
            *length = length.saturating_sub(gone);
            surplus = surplus.saturating_sub(gone);
            if *length == 0 && self.parts.len() > 1 {
                self.parts.pop_front();
            }
        }
    }
}

/// Whether the line that begins so holds a chunk of a stream.
pub(super) fn is_of_a_stream(line: &[u8]) -> bool {
    parse_head(line).is_some_and(|head| channel(&head).is_some())
}

fn channel(head: &Head<'_>) -> Option<Channel> {
    match head.kind {
        RecordKind::Output(Stream::Stdout, _) => Some(Channel::Stdout),
        RecordKind::Output(Stream::Stderr, _) => Some(Channel::Stderr),
        RecordKind::Other("stdin") => Some(Channel::Stdin),
        RecordKind::Other(_) => None,
    }
}

/// The text of a JSON string without its quotes.
fn unescape(inside: &[u8]) -> Option<String> {
    let quoted = [b"\"", inside, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}

/// The same back.
fn escape(bytes: Vec<u8>) -> Vec<u8> {
    // A mask begins and ends between characters, so that text stays text.
    let text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let quoted = serde_json::to_vec(&text).unwrap_or_default();
    let inside = quoted.get(1..quoted.len().saturating_sub(1));
    inside.unwrap_or_default().to_vec()
}

#[cfg(test)]
#[path = "masked_lines_tests.rs"]
pub(super) mod tests;
