//! The one place where a line of an agent is read as JSON.
//!
//! A line should be one JSON object. Agents also write what a terminal would get: a byte order mark, control sequences, a
//! prompt in front of the object, a second object, or text behind it. [`json_parts`] finds the objects.
//!
//! JavaScript cuts texts between the two halves of a character (a surrogate pair) and writes `\ud83d` alone. No JSON
//! reader of ours takes that, so [`repair_json`] makes it U+FFFD. If the cut is between two chunks of one text, [`Halves`] puts
//! the character together again.
//!
//! Promises that the text of a line that is clean is not copied, and that the work is linear in the line's length.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use memchr::{memchr, memchr2, memmem};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A part of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum JsonPart<'a> {
    /// A JSON object, as the agent wrote it.
    Object(&'a [u8]),
    /// Something that can be seen before, between or behind the objects.
    Text(&'a [u8]),
}

/// How many damaged objects of a line are passed over.
const MAX_DAMAGED: usize = 16;

/// A byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const ESCAPE: u8 = 0x1b;

/// Splits a line into its JSON objects and what is around them. Empty if the line has no object.
///
/// An object inside a text, such as a list or an object in another notation, is a part of that text: an agent that logs a
/// message has not sent it. But one `[` or `"` without its end, as in half a control sequence, holds nothing: the object that
/// ends the line counts where it is the only one.
pub fn json_parts(line: &[u8]) -> Vec<JsonPart<'_>> {
    let mut parts = Vec::new();
    // Where the next object is looked for, and up to where the line is in `parts`.
    let (mut at, mut done) = (0, 0);
    let mut damaged = 0;
    let mut text = Nesting::default();
    let mut inside: Option<Range<usize>> = None;
    let mut is_noise = true;
    while let Some(start) = next_start(line, at) {
        let rest = line.get(start..).unwrap_or_default();
        // What is inside a damaged object has a rule of its own, below.
        if damaged == 0 {
            text.read(line.get(at..start).unwrap_or_default());
        }
        match object_length(rest) {
            Ok(length) if text.is_open() => {
                at = start + length;
                is_noise = inside.is_none() && text.has_one_opening();
                inside = Some(start..at);
            }
            // Behind a damaged object, anything may be a part of it. Except what ends the line: there is no end of the
            // damaged object behind it.
            Ok(length) if damaged == 0 || !is_visible(rest.get(length..).unwrap_or_default()) => {
                push_text(&mut parts, line, done..start);
                parts.push(JsonPart::Object(rest.get(..length).unwrap_or_default()));
                (at, done, damaged) = (start + length, start + length, 0);
                text = Nesting::default();
            }
            Ok(length) => at = start + length,
            // The line was cut: all that follows is inside the object.
            Err(error) if error.is_eof() => break,
            Err(_) if damaged == MAX_DAMAGED => break,
            Err(_) => (at, damaged) = (start + 1, damaged + 1),
        }
    }
    let last =
        inside.filter(|inside| is_noise && parts.is_empty() && !is_visible(line.get(inside.end..).unwrap_or_default()));
    if let Some(object) = last {
        push_text(&mut parts, line, 0..object.start);
        done = object.end;
        parts.push(JsonPart::Object(line.get(object).unwrap_or_default()));
    }
    if !parts.is_empty() {
        push_text(&mut parts, line, done..line.len());
    }
    parts
}

/// Whether a text around objects has begun something that it has not ended.
#[derive(Debug, Default)]
struct Nesting {
    brackets: usize,
    braces: usize,
    is_quoted: bool,
}

impl Nesting {
    fn read(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            match first {
                // ESC, as a terminal echoes it.
                b'^' if behind.starts_with(b"[") => rest = behind.get(1..).unwrap_or_default(),
                b'[' => self.brackets += 1,
                b'{' => self.braces += 1,
                b']' => self.brackets = self.brackets.saturating_sub(1),
                b'}' => self.braces = self.braces.saturating_sub(1),
                b'"' => self.is_quoted = !self.is_quoted,
                // The bytes of a control sequence are no brackets.
                &ESCAPE => rest = text.get(text.len() - rest.len() - 1..).map_or(rest, behind_control),
                _ => {}
            }
        }
    }

    fn is_open(&self) -> bool {
        self.brackets > 0 || self.braces > 0 || self.is_quoted
    }

    /// One `[` or `"`: a `{` could be the beginning of an object that was cut.
    fn has_one_opening(&self) -> bool {
        self.braces == 0 && self.brackets + usize::from(self.is_quoted) == 1
    }
}

fn behind_control(text: &[u8]) -> &[u8] {
    text.get(control_length(text)..).unwrap_or_default()
}

/// Where the next `{` is that can begin an object: not one in a control sequence, such as a window's title.
fn next_start(line: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = line.get(at..)?;
        let start = at + memchr2(b'{', ESCAPE, rest)?;
        let found = line.get(start..)?;
        if found.starts_with(&[ESCAPE]) {
            at = start + control_length(found);
        } else if matches!(found.get(1..)?.trim_ascii_start().first(), Some(b'"' | b'}')) {
            return Some(start);
        } else {
            at = start + 1;
        }
    }
}

/// The length of the object at the beginning of the text.
fn object_length(text: &[u8]) -> serde_json::Result<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    // There is a value: the text begins with `{`.
    values.next().transpose()?;
    Ok(values.byte_offset())
}

/// The length of the control sequence (ECMA-48) at the beginning of the text.
fn control_length(text: &[u8]) -> usize {
    let end = |offset: usize, is_end: fn(u8) -> bool| {
        let rest = text.get(offset..).unwrap_or_default();
        rest.iter().position(|byte| is_end(*byte)).map(|end| offset + end + 1)
    };
    match text.get(1) {
        // Parameters, then one final byte; any other byte ends the sequence, too, and is no part of it.
        Some(b'[') => match end(2, |byte| !(0x20..0x40).contains(&byte)) {
            Some(end) if matches!(text.get(end - 1), Some(0x40..=0x7e)) && text.get(end - 1) != Some(&b'{') => end,
            Some(end) => end - 1,
            None => text.len(),
        },
        // A text such as a title, up to BEL or `ESC \`. Without this end, it is no control sequence.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => match end(2, |byte| matches!(byte, 0x07 | ESCAPE)) {
            Some(end) if text.get(end - 1) == Some(&ESCAPE) && text.get(end) == Some(&b'\\') => end + 1,
            Some(end) if text.get(end - 1) == Some(&0x07) => end,
            Some(_) | None => 2,
        },
        // A character set has a name behind it.
        Some(b'(' | b')' | b'*' | b'+' | b'#' | b'%') => 3.min(text.len()),
        // A sequence may be cut off before an object, which is never a part of it.
        Some(b'{') | None => 1,
        Some(_) => 2,
    }
}

fn push_text<'a>(parts: &mut Vec<JsonPart<'a>>, line: &'a [u8], range: Range<usize>) {
    let text = line.get(range).unwrap_or_default();
    if is_visible(text) {
        parts.push(JsonPart::Text(text));
    }
}

/// Whether there is more than white space, control sequences, and byte order marks.
fn is_visible(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return false,
            [ESCAPE, ..] => behind_control(rest),
            [0..=b' ' | 0x7f, behind @ ..] => behind,
            _ => match rest.strip_prefix(BYTE_ORDER_MARK) {
                Some(behind) => behind,
                None => return true,
            },
        };
    }
}

/// Replaces half characters in the strings of a JSON text, so that it can be read.
pub fn repair_json(json: &str) -> Cow<'_, str> {
    if !may_have_halves(json.as_bytes()) {
        return Cow::Borrowed(json);
    }
    let mut repaired = String::new();
    let mut done = 0;
    for half in halves(json) {
        repaired.push_str(json.get(done..half.at.start).unwrap_or_default());
        repaired.push_str("\\ufffd");
        done = half.at.end;
    }
    if done == 0 {
        return Cow::Borrowed(json);
    }
    repaired.push_str(json.get(done..).unwrap_or_default());
    Cow::Owned(repaired)
}

/// Every half is written as `\ud…`.
fn may_have_halves(json: &[u8]) -> bool {
    memmem::find(json, b"\\ud").is_some() || memmem::find(json, b"\\uD").is_some()
}

/// A `\u` escape of half a character, without its other half next to it.
struct Half {
    at: Range<usize>,
    is_first: bool,
}

/// All half characters of a JSON text, in order.
fn halves(json: &str) -> Vec<Half> {
    let bytes = json.as_bytes();
    let mut found: Vec<Half> = Vec::new();
    let mut at = 0;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        let start = at + offset;
        let Some(unit) = code_unit(bytes, start) else {
            // `\\` and the like: the second byte does not begin an escape.
            at = start + 2;
            continue;
        };
        at = start + ESCAPE_LENGTH;
        let is_first = (0xd800..0xdc00).contains(&unit);
        if is_first && code_unit(bytes, at).is_some_and(|next| (0xdc00..0xe000).contains(&next)) {
            at += ESCAPE_LENGTH;
        } else if (0xd800..0xe000).contains(&unit) {
            found.push(Half {
                at: start..at,
                is_first,
            });
        }
    }
    found
}

/// The length of `\u0041`.
const ESCAPE_LENGTH: usize = 6;

/// The code unit of a `\u` escape that begins here.
fn code_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The keys that lead to the text of a chunk, in an object that is one.
pub(crate) type ChunkPath = &'static [&'static str];

/// Puts together the characters that an agent has cut between two chunks of a text.
#[derive(Clone, Debug)]
pub(crate) struct Halves {
    chunks: &'static [ChunkPath],
    held: Option<Held>,
}

/// The first half of a character.
#[derive(Clone, Debug)]
struct Held {
    path: ChunkPath,
    /// Its escape.
    escape: String,
    /// Its object, with U+FFFD as the only text: this is what is left if the other half does not come.
    object: String,
}

/// An object that every JSON reader takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clean<'a> {
    /// A chunk that comes before it: what is left of a character whose other half has not come.
    pub(crate) before: Option<String>,
    /// The object.
    pub(crate) object: Cow<'a, [u8]>,
}

impl Halves {
    /// For a format with chunks at these paths.
    pub(crate) fn new(chunks: &'static [ChunkPath]) -> Self {
        Self { chunks, held: None }
    }

    /// Takes the next object.
    pub(crate) fn clean<'a>(&mut self, object: &'a [u8]) -> Clean<'a> {
        if self.held.is_none() && !may_have_halves(object) && std::str::from_utf8(object).is_ok() {
            let object = Cow::Borrowed(object);
            return Clean { before: None, object };
        }
        let json = String::from_utf8_lossy(object);
        let Some((path, text)) = self.find_chunk(&json) else {
            let before = self.held.take().map(|held| held.object);
            let object = Cow::Owned(repair_json(&json).into_owned().into_bytes());
            return Clean { before, object };
        };
        let mut chunk = json.get(text.clone()).unwrap_or_default().to_owned();
        let mut before = None;
        let is_empty = chunk == "\"\"";
        if let Some(held) = self.held.take_if(|held| held.path == path && !is_empty) {
            let continues = halves(&chunk)
                .first()
                .is_some_and(|half| !half.is_first && half.at.start == 1);
            if continues {
                chunk.insert_str(1, &held.escape);
            } else {
                before = Some(held.object);
            }
        }
        let with_text = |text_of_chunk: &str| {
            let (head, tail) = (json.get(..text.start), json.get(text.end..));
            let whole = [head.unwrap_or_default(), text_of_chunk, tail.unwrap_or_default()].concat();
            repair_json(&whole).into_owned()
        };
        // The closing quote is behind it.
        let last = halves(&chunk)
            .pop()
            .filter(|half| half.is_first && half.at.end + 1 == chunk.len());
        if let Some(half) = last {
            let escape = chunk.get(half.at.clone()).unwrap_or_default().to_owned();
            let object = with_text("\"\\ufffd\"");
            // Only one is held: that of another path, whose other half has not come yet, goes first.
            let former = self.held.replace(Held { path, escape, object });
            before = before.or(former.map(|held| held.object));
            chunk.replace_range(half.at, "");
        }
        let object = Cow::Owned(with_text(&chunk).into_bytes());
        Clean { before, object }
    }

    /// The text of a chunk, with its quotes.
    fn find_chunk(&self, json: &str) -> Option<(ChunkPath, Range<usize>)> {
        let mut paths = self.chunks.iter();
        paths.find_map(|path| Some((*path, find_text(json, path)?)))
    }
}

/// Where the text at the end of a path is, with its quotes.
fn find_text(json: &str, path: &[&str]) -> Option<Range<usize>> {
    let mut value = json;
    for key in path {
        let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value).ok()?;
        value = members.get(*key)?.get();
    }
    let start = value.as_ptr().addr().checked_sub(json.as_ptr().addr())?;
    value.starts_with('"').then(|| start..start + value.len())
}

#[cfg(test)]
#[path = "json_line_tests.rs"]
mod tests;
