//! Finding secrets and putting `***` in their place.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::forms::patterns;
use super::{MASK, Secrets};

/// A chunk may end with this many first bytes of a secret and show them: fewer mean nothing, and more are hidden.
const LEAST_BEGINNING: usize = 4;

/// Up to so many bytes of patterns the fastest automaton is small enough; beyond, a compact one is taken.
const SMALL: usize = 8 << 10;

/// Finds secrets; shared by all readers that know the same ones.
pub struct Masker {
    automaton: AhoCorasick,
    /// The patterns in order, to look up which of them begin with something.
    sorted: Vec<Box<str>>,
    /// With which bytes patterns begin.
    first: Box<[bool; 256]>,
    longest: usize,
}

/// What is shown of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Its bytes, secrets hidden.
    pub bytes: Cow<'a, [u8]>,
    /// Its last byte is hidden: what follows and is hidden, too, needs no second `***`.
    pub ends_hidden: bool,
}

/// A text without its secrets, where there may be none to hide.
pub fn masked(masker: Option<&Masker>, text: &str) -> String {
    masker.map_or_else(|| text.to_owned(), |masker| masker.text(text).into_owned())
}

impl Masker {
    /// A masker of these secrets; `None` where there is nothing to hide.
    pub fn new(secrets: &Secrets) -> Option<Self> {
        let sorted: Vec<Box<str>> = patterns(secrets.values())
            .into_iter()
            .map(String::into_boxed_str)
            .collect();
        let longest = sorted.iter().map(|pattern| pattern.len()).max()?;
        let total: usize = sorted.iter().map(|pattern| pattern.len()).sum();
        let mut builder = AhoCorasick::builder();
        // Of all matches that begin at one place the longest: so the union of all matches is found.
        builder.match_kind(MatchKind::LeftmostLongest);
        if total > SMALL {
            builder.kind(Some(AhoCorasickKind::ContiguousNFA));
        }
        // It fails only for more patterns than fit into memory.
        let automaton = builder.build(sorted.iter().map(|pattern| pattern.as_bytes())).ok()?;
        let mut first = Box::new([false; 256]);
        for byte in sorted.iter().filter_map(|pattern| pattern.bytes().next()) {
            if let Some(known) = first.get_mut(usize::from(byte)) {
                *known = true;
            }
        }
        Some(Self {
            automaton,
            sorted,
            first,
            longest,
        })
    }

    /// Whether there is a secret.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.automaton.is_match(bytes)
    }

    /// The text without its secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Patterns are text, so that no character is cut in two.
            Cow::Owned(bytes) => Cow::Owned(lossy(bytes)),
        }
    }

    /// The bytes without their secrets.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.chunk(&[], false, bytes, true).bytes
    }

    /// The most bytes before a chunk that can matter for it.
    pub fn reach(&self) -> usize {
        self.longest.saturating_sub(1)
    }

    /// A chunk of a line without its secrets, of which one may have begun before the chunk and another may go on
    /// behind it.
    ///
    /// `before` is what of the line came before (the last [`Masker::reach`] bytes are enough), `hidden` whether
    /// the end of that was hidden, and `ends` that the line does not go on. What is shown is a function of these
    /// alone: a reader is never kept waiting for what follows. The price is that a chunk that ends with at least
    /// four first bytes of a secret hides them, also where something else follows.
    pub fn chunk<'a>(&self, before: &[u8], hidden: bool, bytes: &'a [u8], ends: bool) -> Shown<'a> {
        let joined = if before.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned([before, bytes].concat())
        };
        let mut spans = self.spans(&joined);
        if !ends {
            let beginning = joined.len().saturating_sub(self.unfinished(&joined));
            if beginning < joined.len() {
                push(&mut spans, beginning..joined.len());
            }
        }
        spans.retain(|span| span.end > before.len());
        let ends_hidden = match spans.last() {
            Some(last) => last.end == joined.len(),
            None => hidden && bytes.is_empty(),
        };
        if spans.is_empty() {
            let bytes = Cow::Borrowed(bytes);
            return Shown { bytes, ends_hidden };
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
        Shown { bytes, ends_hidden }
    }

    /// Everything that belongs to a secret, in order; what touches is one.
    fn spans(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        let mut from = 0;
        while let Some(found) = self.automaton.find(Input::new(bytes).range(from..)) {
            push(&mut spans, found.range());
            // The next may begin inside of this one.
            from = found.start().saturating_add(1);
        }
        spans
    }

    /// How many bytes at the end are the beginning of a pattern; 0 when too few to mean one.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let tail = bytes.len().saturating_sub(self.reach());
        let tail = bytes.get(tail..).unwrap_or_default();
        let begins = |at: &usize| {
            let end = tail.get(*at..).unwrap_or_default();
            let first = end.first().and_then(|byte| self.first.get(usize::from(*byte)));
            first.is_some_and(|known| *known) && {
                let place = self.sorted.partition_point(|pattern| pattern.as_bytes() < end);
                self.sorted
                    .get(place)
                    .is_some_and(|pattern| pattern.as_bytes().starts_with(end))
            }
        };
        let last = tail.len().saturating_sub(LEAST_BEGINNING);
        (0..=last)
            .filter(|_| tail.len() >= LEAST_BEGINNING)
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
    /// How many patterns there are; never one of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({})", self.sorted.len())
    }
}

#[cfg(test)]
#[path = "masker_tests.rs"]
mod tests;
