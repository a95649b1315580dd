//! Finds secrets and replaces them by `***`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::forms::patterns;
use super::{MASK, Secrets};

/// A chunk that ends with at least this many first bytes of a secret hides them. Fewer bytes stay visible.
const MIN_PREFIX: usize = 4;

/// Up to this size of all patterns the fastest automaton is used; above it a compact one.
const MAX_FAST: usize = 8 << 10;

/// Finds secrets. Shared by all readers with the same secrets.
pub struct Masker {
    automaton: AhoCorasick,
    /// The sorted patterns, for finding those with a prefix.
    sorted: Vec<Box<str>>,
    /// The first bytes of all patterns.
    first_bytes: Box<[bool; 256]>,
    longest: usize,
}

/// A masked chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedChunk<'a> {
    /// Its bytes with masked secrets.
    pub bytes: Cow<'a, [u8]>,
    /// Its last byte is hidden, so hidden bytes that follow need no second `***`.
    pub ends_hidden: bool,
}

/// Masks a text; without a masker the text is unchanged.
pub fn masked(masker: Option<&Masker>, text: &str) -> String {
    masker.map_or_else(|| text.to_owned(), |masker| masker.text(text).into_owned())
}

impl Masker {
    /// A masker for these secrets; `None` if there are none.
    pub fn new(secrets: &Secrets) -> Option<Self> {
        let sorted: Vec<Box<str>> = patterns(secrets.values())
            .into_iter()
            .map(String::into_boxed_str)
            .collect();
        let longest = sorted.iter().map(|pattern| pattern.len()).max()?;
        let total: usize = sorted.iter().map(|pattern| pattern.len()).sum();
        let mut builder = AhoCorasick::builder();
        // The longest of all matches at a position, so that the union of all matches is found.
        builder.match_kind(MatchKind::LeftmostLongest);
        if total > MAX_FAST {
            builder.kind(Some(AhoCorasickKind::ContiguousNFA));
        }
        // It only fails if the patterns do not fit into memory.
        let automaton = builder.build(sorted.iter().map(|pattern| pattern.as_bytes())).ok()?;
        let mut first_bytes = Box::new([false; 256]);
        for byte in sorted.iter().filter_map(|pattern| pattern.bytes().next()) {
            if let Some(known) = first_bytes.get_mut(usize::from(byte)) {
                *known = true;
            }
        }
        Some(Self {
            automaton,
            sorted,
            first_bytes,
            longest,
        })
    }

    /// Whether the bytes contain a secret.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.automaton.is_match(bytes)
    }

    /// Masks a text.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Patterns are text, so no character is split.
            Cow::Owned(bytes) => Cow::Owned(lossy(bytes)),
        }
    }

    /// Masks bytes.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.chunk(&[], false, bytes, true).bytes
    }

    /// How many bytes before a chunk can affect its masking.
    pub fn reach(&self) -> usize {
        self.longest.saturating_sub(1)
    }

    /// Masks a chunk of a line. A secret may start before the chunk, and another may continue after it.
    ///
    ///
    /// `before` is the earlier part of the line (the last [`Masker::reach`] bytes are enough), `hidden` whether its last
    /// byte was hidden, and `ends` whether the line ends with this chunk. The result only depends on these, so a reader
    /// never waits for the next chunk. In return, a chunk that ends with at least four first bytes of a secret hides them,
    /// also if something else follows.
    pub fn chunk<'a>(&self, before: &[u8], hidden: bool, bytes: &'a [u8], ends: bool) -> MaskedChunk<'a> {
        let joined = if before.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned([before, bytes].concat())
        };
        let mut spans = self.spans(&joined);
        if !ends {
            let prefix_start = joined.len().saturating_sub(self.prefix_len(&joined));
            if prefix_start < joined.len() {
                push(&mut spans, prefix_start..joined.len());
            }
        }
        spans.retain(|span| span.end > before.len());
        let ends_hidden = match spans.last() {
            Some(last) => last.end == joined.len(),
            None => hidden && bytes.is_empty(),
        };
        if spans.is_empty() {
            let bytes = Cow::Borrowed(bytes);
            return MaskedChunk { bytes, ends_hidden };
        }
        let mut shown = Vec::with_capacity(bytes.len());
        let mut from = before.len();
        for span in spans {
            shown.extend_from_slice(joined.get(from..span.start).unwrap_or_default());
            if !(hidden && span.start <= before.len()) {
                shown.extend_from_slice(MASK.as_bytes());
            }
            from = span.end;
        }
        shown.extend_from_slice(joined.get(from..).unwrap_or_default());
        let bytes = Cow::Owned(shown);
        MaskedChunk { bytes, ends_hidden }
    }

    /// The ranges of all secrets, in order; adjacent ranges are joined.
    fn spans(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        let mut from = 0;
        while let Some(found) = self.automaton.find(Input::new(bytes).range(from..)) {
            push(&mut spans, found.range());
            // The next match may start inside of this one.
            from = found.start().saturating_add(1);
        }
        spans
    }

    /// The number of bytes at the end that are the start of a pattern; 0 if fewer than [`MIN_PREFIX`].
    fn prefix_len(&self, bytes: &[u8]) -> usize {
        let tail = bytes.len().saturating_sub(self.reach());
        let tail = bytes.get(tail..).unwrap_or_default();
        let begins = |at: &usize| {
            let end = tail.get(*at..).unwrap_or_default();
            let first = end.first().and_then(|byte| self.first_bytes.get(usize::from(*byte)));
            first.is_some_and(|known| *known) && {
                let index = self.sorted.partition_point(|pattern| pattern.as_bytes() < end);
                self.sorted
                    .get(index)
                    .is_some_and(|pattern| pattern.as_bytes().starts_with(end))
            }
        };
        let last = tail.len().saturating_sub(MIN_PREFIX);
        (0..=last)
            .filter(|_| tail.len() >= MIN_PREFIX)
            .find(begins)
            .map_or(0, |at| tail.len().saturating_sub(at))
    }
}

fn push(spans: &mut Vec<Range<usize>>, mut span: Range<usize>) {
    while let Some(last) = spans.pop_if(|last| span.start <= last.end) {
        span = span.start.min(last.start)..span.end.max(last.end);
    }
    spans.push(span);
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl fmt::Debug for Masker {
    /// Shows the number of patterns, and no pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({})", self.sorted.len())
    }
}

#[cfg(test)]
#[path = "masker_tests.rs"]
mod tests;
