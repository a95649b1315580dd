//! Finds secrets and replaces them by `***`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::canonical::{Canonical, PASSES, is_wrapped};
use super::forms::Patterns;
use super::json_text::whole_escapes;
use super::{MASK, Secrets};

/// A chunk that ends with at least this many first bytes of a secret hides them. Fewer bytes stay visible.
const MIN_PREFIX: usize = 4;

/// Up to this size of all patterns the fastest automaton is used; above it a compact one.
const MAX_FAST: usize = 8 << 10;

/// The length of an escape of a byte (`\u002f`) after all passes: each may have written the backslash as `\u005c`. That also
/// covers a backslash that was doubled as often.
const ESCAPE: usize = 6 + 5 * (PASSES - 1);

/// Bytes that divide a JSON text into its values. In a string a quote is escaped.
const STRUCTURE: &[u8] = b"\"{}[],:";

/// A text of at least this length may have been cut by a limit, and may end within a secret.
const MAYBE_CUT: usize = 64 << 10;

/// A longer text is searched in parts, because its canonical form is a copy.
const MAX_PART: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// Finds secrets. Shared by all readers with the same secrets.
pub struct Masker {
    automaton: AhoCorasick,
    /// The sorted patterns, for finding those with a prefix.
    sorted: Vec<Box<[u8]>>,
    /// Those of base64.
    base64: Vec<Box<[u8]>>,
    /// The first bytes of all patterns.
    first_bytes: Box<[bool; 256]>,
    /// Whether a pattern has [`STRUCTURE`], so that it may be more than one string of a JSON text.
    has_structure: bool,
    longest: usize,
}

/// What follows a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Closed,
    /// A line break. Only base64 continues after one.
    Line,
    /// More of the same line or text.
    Open,
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
        let Patterns { all, base64 } = Patterns::of(secrets.values());
        let longest = all.iter().map(Vec::len).max()?;
        let total: usize = all.iter().map(Vec::len).sum();
        let mut builder = AhoCorasick::builder();
        // The longest of all matches at a position, so that the union of all matches is found.
        builder.match_kind(MatchKind::LeftmostLongest);
        if total > MAX_FAST {
            builder.kind(Some(AhoCorasickKind::ContiguousNFA));
        }
        // It only fails if the patterns do not fit into memory.
        let automaton = builder.build(&all).ok()?;
        let mut first_bytes = Box::new([false; 256]);
        for byte in all.iter().filter_map(|pattern| pattern.first()) {
            if let Some(known) = first_bytes.get_mut(usize::from(*byte)) {
                *known = true;
            }
        }
        let has_structure = all.iter().flatten().any(|byte| STRUCTURE.contains(byte));
        let sorted = |patterns: std::collections::BTreeSet<Vec<u8>>| patterns.into_iter().map(Vec::into_boxed_slice);
        Some(Self {
            automaton,
            sorted: sorted(all).collect(),
            base64: sorted(base64).collect(),
            first_bytes,
            has_structure,
            longest,
        })
    }

    /// Whether the bytes contain a secret.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.automaton.is_match(bytes) || !self.matches(bytes, End::Closed).is_empty()
    }

    /// Masks a text.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.chunk(&[], false, text.as_bytes(), whole(text.as_bytes())).bytes {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Patterns are text, so no character is split.
            Cow::Owned(bytes) => Cow::Owned(lossy(bytes)),
        }
    }

    /// Masks bytes.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.chunk(&[], false, bytes, End::Closed).bytes
    }

    /// Masks the inside of a JSON string.
    pub(super) fn string<'a>(&self, inside: &'a [u8]) -> Cow<'a, [u8]> {
        self.string_chunk(&[], false, inside, whole(inside)).bytes
    }

    /// How many bytes before a chunk can affect its masking.
    pub fn reach(&self) -> usize {
        self.longest.saturating_sub(1).saturating_mul(ESCAPE)
    }

    /// Masks a chunk of a line. A secret may start before the chunk, and another may continue after it.
    ///
    /// `before` is the earlier part of the line (the last [`Masker::reach`] bytes are enough), `hidden` whether its last
    /// byte was hidden, and `end` what follows. The result only depends on these, so a reader never waits for the next
    /// chunk. In return, a chunk that ends with at least four first bytes of a secret hides them, also if something else
    /// follows.
    pub fn chunk<'a>(&self, before: &[u8], hidden: bool, bytes: &'a [u8], end: End) -> MaskedChunk<'a> {
        self.mask(before, hidden, bytes, end, |_, _| ())
    }

    /// The same for the inside of JSON strings, which stay strings.
    pub fn string_chunk<'a>(&self, before: &[u8], hidden: bool, inside: &'a [u8], end: End) -> MaskedChunk<'a> {
        self.mask(before, hidden, inside, end, whole_escapes)
    }

    fn mask<'a>(
        &self,
        before: &[u8],
        hidden: bool,
        bytes: &'a [u8],
        end: End,
        grow: fn(&[u8], &mut [Range<usize>]),
    ) -> MaskedChunk<'a> {
        let joined = if before.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned([before, bytes].concat())
        };
        let within = |at: usize| at.saturating_sub(before.len());
        let found = self.matches(&joined, end);
        // Another secret that begins here has its own `***`: the chunk may be shown without the one before.
        let is_continued = |span: &Range<usize>| span.start < before.len() && span.end > before.len();
        let continues = hidden && found.iter().any(is_continued);
        let mut found = joined_spans(found);
        found.retain(|span| span.end > before.len());
        for span in &mut found {
            *span = within(span.start)..within(span.end);
        }
        grow(bytes, &mut found);
        let spans = joined_spans(found);
        let ends_hidden = match spans.last() {
            Some(last) => last.end == bytes.len(),
            None => hidden && bytes.is_empty(),
        };
        if spans.is_empty() {
            let bytes = Cow::Borrowed(bytes);
            return MaskedChunk { bytes, ends_hidden };
        }
        let mut shown = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for span in spans {
            shown.extend_from_slice(bytes.get(from..span.start).unwrap_or_default());
            if !(continues && span.start == 0) {
                shown.extend_from_slice(MASK.as_bytes());
            }
            from = span.end;
        }
        shown.extend_from_slice(bytes.get(from..).unwrap_or_default());
        let bytes = Cow::Owned(shown);
        MaskedChunk { bytes, ends_hidden }
    }

    /// The ranges of all secrets, in order; adjacent ranges are joined.
    pub(super) fn spans(&self, text: &[u8], end: End) -> Vec<Range<usize>> {
        joined_spans(self.matches(text, end))
    }

    /// The ranges in a JSON text of secrets that are more than one of its strings, in order. `strings` are the insides of
    /// all strings.
    pub(super) fn beyond_strings(&self, text: &[u8], strings: &[Range<usize>]) -> Vec<Range<usize>> {
        if !self.has_structure {
            return Vec::new();
        }
        let mut found = self.spans(text, End::Closed);
        found.retain(|span| {
            let next = strings.partition_point(|string| string.start <= span.start);
            let string = next.checked_sub(1).and_then(|index| strings.get(index));
            let has_structure = || {
                let bytes = text.get(span.clone()).unwrap_or_default();
                bytes.iter().any(|byte| STRUCTURE.contains(byte))
            };
            string.is_none_or(|string| span.end > string.end) && has_structure()
        });
        found
    }

    /// The ranges of all secrets, as they are found.
    fn matches(&self, text: &[u8], end: End) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut from = 0_usize;
        loop {
            let to = from.saturating_add(MAX_PART).saturating_add(self.reach());
            let (part, end) = match text.get(from..to) {
                Some(part) if to < text.len() => (part, End::Closed),
                _ => (text.get(from..).unwrap_or_default(), end),
            };
            let before = found.len();
            self.find_in_part(part, end, &mut found);
            for span in found.iter_mut().skip(before) {
                *span = span.start.saturating_add(from)..span.end.saturating_add(from);
            }
            if to >= text.len() {
                break;
            }
            from = from.saturating_add(MAX_PART);
        }
        found
    }

    /// Finds the secrets in a text as it is, without its escapes, and without the line breaks of base64.
    fn find_in_part(&self, text: &[u8], end: End, found: &mut Vec<Range<usize>>) {
        let is_open = end == End::Open;
        let all = text.len();
        self.find(text, found, |span| span);
        found.extend(self.prefix(text, &self.sorted, is_open).map(|start| start..all));
        let mut passes: Vec<Canonical> = Vec::new();
        while passes.len() < PASSES
            && let Some(decoded) = Canonical::decoded(last(&passes, text), is_open)
        {
            passes.push(decoded);
            let decoded = last(&passes, text);
            self.find(decoded, found, |span| source(&passes, span));
            let start = self.prefix(decoded, &self.sorted, is_open);
            found.extend(start.map(|start| source(&passes, start..start).start..all));
        }
        let text = last(&passes, text);
        let line = text.trim_ascii_end();
        let flat = Canonical::unwrapped(text);
        let is_cut = is_open && flat.is_some() || end == End::Line && is_wrapped(line);
        let flat_source =
            |span: Range<usize>| source(&passes, flat.as_ref().map_or(span.clone(), |flat| flat.source(&span)));
        if let Some(flat) = &flat {
            self.find(&flat.bytes, found, flat_source);
        }
        let flat = flat.as_ref().map_or(line, |flat| flat.bytes.trim_ascii_end());
        let start = self.prefix(flat, &self.base64, is_cut);
        found.extend(start.map(|start| flat_source(start..flat.len())));
    }

    fn find(&self, text: &[u8], spans: &mut Vec<Range<usize>>, source: impl Fn(Range<usize>) -> Range<usize>) {
        let mut from = 0;
        while let Some(found) = self.automaton.find(Input::new(text).range(from..)) {
            spans.push(source(found.range()));
            // The next match may start inside of this one.
            from = found.start().saturating_add(1);
        }
    }

    /// Where the start of a pattern begins with which a text ends that is cut; none if it has fewer than [`MIN_PREFIX`]
    /// bytes.
    fn prefix(&self, text: &[u8], patterns: &[Box<[u8]>], is_cut: bool) -> Option<usize> {
        if !is_cut {
            return None;
        }
        let begin = text.len().saturating_sub(self.longest.saturating_sub(1));
        let last = text.len().checked_sub(MIN_PREFIX)?;
        (begin..=last).find(|at| {
            let end = text.get(*at..).unwrap_or_default();
            let first = end.first().and_then(|byte| self.first_bytes.get(usize::from(*byte)));
            first.is_some_and(|known| *known) && {
                let index = patterns.partition_point(|pattern| &**pattern < end);
                patterns.get(index).is_some_and(|pattern| pattern.starts_with(end))
            }
        })
    }
}

/// The text after all passes.
fn last<'a>(passes: &'a [Canonical], text: &'a [u8]) -> &'a [u8] {
    passes.last().map_or(text, |decoded| &decoded.bytes)
}

/// The range of the text that a range after all passes comes from.
fn source(passes: &[Canonical], span: Range<usize>) -> Range<usize> {
    passes.iter().rev().fold(span, |span, decoded| decoded.source(&span))
}

/// What follows a whole text.
fn whole(text: &[u8]) -> End {
    if text.len() < MAYBE_CUT { End::Closed } else { End::Open }
}

/// The union of all spans, in order.
fn joined_spans(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|span| span.start);
    let mut spans: Vec<Range<usize>> = Vec::new();
    for span in found {
        match spans.last_mut().filter(|last| span.start <= last.end) {
            Some(last) => last.end = last.end.max(span.end),
            None => spans.push(span),
        }
    }
    spans
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
