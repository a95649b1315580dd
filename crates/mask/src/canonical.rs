//! The canonical form of a text: without escapes, and without the line breaks of wrapped base64.
//!
//! Secrets are searched there, because a text has many spellings: `a/b` may be `a\/b`, `a\u002fb`, `a%2Fb`, or, as JSON in
//! JSON, `a\\u002fb`. A run of backslashes counts as one, so the depth of the nesting makes no difference.

use std::ops::Range;

use memchr::{memchr2, memchr3};

/// How often a text is decoded: an escape may itself be written with escapes (`\\u005cu002f`).
pub(super) const PASSES: usize = 3;

/// Base64 that is shorter than this is not wrapped.
const MIN_COLUMNS: usize = 16;

/// The first byte of the UTF-8 of a character that has two halves in UTF-16, up to U+3FFFF. No other is assigned.
const TWO_HALVES: u8 = 0xF0;

/// A text that was derived from another one.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    pub(super) bytes: Vec<u8>,
    /// In order. The last one is empty, and stands at the end of both texts.
    pieces: Vec<Piece>,
}

/// Where a part of the text begins.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: usize,
    source: usize,
    /// The part is the same in the source. Otherwise it is one escape.
    same: bool,
}

impl Canonical {
    /// The text without escapes; `None` if it has none. An incomplete escape at the end of an `open` text is left out.
    pub(super) fn decoded(text: &[u8], open: bool) -> Option<Self> {
        memchr2(b'\\', b'%', text)?;
        Some(Self::decode(text, open)).filter(|decoded| decoded.bytes != text)
    }

    /// The same for a text that may have no escapes.
    pub(super) fn decode(text: &[u8], open: bool) -> Self {
        let mut canonical = Self::default();
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| memchr3(b'\\', b'%', TWO_HALVES, rest)) {
            let begin = at.saturating_add(found);
            canonical.copy(text, at..begin);
            let rest = text.get(begin..).unwrap_or_default();
            canonical.piece(begin, false);
            let length = match rest.first() {
                Some(b'\\') => canonical.backslash(rest, open),
                Some(b'%') => canonical.percent(rest, open),
                _ => canonical.character(rest),
            };
            at = begin.saturating_add(length.max(1));
        }
        canonical.copy(text, at..text.len());
        canonical.piece(text.len(), false);
        canonical
    }

    /// The text without the line breaks in base64; `None` if it has none.
    pub(super) fn unwrapped(text: &[u8]) -> Option<Self> {
        let mut canonical = Self::default();
        let mut at = 0;
        for newline in memchr::memchr_iter(b'\n', text) {
            let line = text.get(at..newline).unwrap_or_default().trim_ascii_end();
            let end = at.saturating_add(line.len());
            let behind = text.get(newline..).unwrap_or_default();
            let indent = behind.len().saturating_sub(behind.trim_ascii_start().len());
            let next = newline.saturating_add(indent);
            if is_wrapped(line) && text.get(next).copied().is_none_or(is_base64) {
                canonical.copy(text, at..end);
                canonical.piece(end, false);
                at = next;
            }
        }
        if canonical.pieces.is_empty() {
            return None;
        }
        canonical.copy(text, at..text.len());
        canonical.piece(text.len(), false);
        Some(canonical)
    }

    /// The range of the source that a range of this text comes from.
    pub(super) fn source(&self, range: &Range<usize>) -> Range<usize> {
        let last_at = |at: usize| self.pieces.partition_point(|piece| piece.at <= at).checked_sub(1);
        let start = last_at(range.start).and_then(|index| self.pieces.get(index));
        let start = start.map_or(0, |piece| piece.source_of(range.start));
        let next = self.pieces.partition_point(|piece| piece.at < range.end);
        let before = next.checked_sub(1).and_then(|index| self.pieces.get(index));
        let end = match (before, self.pieces.get(next)) {
            (_, Some(next)) if next.at == range.end => next.source,
            (Some(before), _) if before.same => before.source_of(range.end),
            (_, next) => next.map_or(start, |next| next.source),
        };
        start..end.max(start)
    }

    fn piece(&mut self, source: usize, same: bool) {
        let at = self.bytes.len();
        self.pieces.push(Piece { at, source, same });
    }

    fn copy(&mut self, text: &[u8], range: Range<usize>) {
        if let Some(same) = text.get(range.clone()).filter(|same| !same.is_empty()) {
            self.piece(range.start, true);
            self.bytes.extend_from_slice(same);
        }
    }

    /// Decodes an escape that begins with a backslash; returns its length.
    fn backslash(&mut self, text: &[u8], open: bool) -> usize {
        let run = text.iter().take_while(|byte| **byte == b'\\').count();
        let rest = text.get(run..).unwrap_or_default();
        let Some(letter) = rest.first() else {
            self.bytes.extend((!open).then_some(b'\\'));
            return run;
        };
        let digits = rest.get(1..).unwrap_or_default();
        let (count, unit) = match letter {
            b'u' => (4, hex(digits, 4)),
            b'x' => (2, hex(digits, 2)),
            _ => (0, simple(*letter).map(u32::from)),
        };
        match unit {
            Some(unit) if *letter == b'x' => self.bytes.extend(u8::try_from(unit)),
            Some(unit) => self.unit(unit),
            None if open && digits.len() < count && digits.iter().all(u8::is_ascii_hexdigit) => {
                return text.len();
            }
            None => {
                self.bytes.push(b'\\');
                return run;
            }
        }
        run.saturating_add(1).saturating_add(count)
    }

    /// Decodes `%2F`, and `%252F`, which was encoded twice.
    fn percent(&mut self, text: &[u8], open: bool) -> usize {
        let mut at = 1;
        while let Some(rest) = text.get(at..)
            && rest.starts_with(b"25")
            && rest.get(2..4).is_none_or(|two| hex(two, 2).is_some())
            && rest.len() > 2
        {
            at = at.saturating_add(2);
        }
        let digits = text.get(at..).unwrap_or_default();
        match hex(digits, 2) {
            // It may be the start of `%252F`.
            Some(_) if open && digits == b"25" => text.len(),
            Some(byte) => {
                self.bytes.extend(u8::try_from(byte));
                at.saturating_add(2)
            }
            None if open && digits.len() < 2 && digits.iter().all(u8::is_ascii_hexdigit) => text.len(),
            None => {
                self.bytes.push(b'%');
                1
            }
        }
    }

    /// Encodes a character as its two halves, which may also come as two escapes.
    fn character(&mut self, text: &[u8]) -> usize {
        let four = text.get(..4).and_then(|four| std::str::from_utf8(four).ok());
        let Some(character) = four.and_then(|four| four.chars().next()) else {
            self.bytes.extend(text.first());
            return 1;
        };
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.unit(u32::from(*unit));
        }
        4
    }

    /// Appends a UTF-16 unit in the form that UTF-8 would have if halves were characters.
    fn unit(&mut self, unit: u32) {
        let low = |shift: u32| u8::try_from(unit >> shift & 0x3F).unwrap_or(0) | 0x80;
        let high = |shift: u32, mark: u8| u8::try_from(unit >> shift).unwrap_or(0) | mark;
        match unit {
            0..0x80 => self.bytes.push(high(0, 0)),
            0x80..0x800 => self.bytes.extend([high(6, 0xC0), low(0)]),
            _ => self.bytes.extend([high(12, 0xE0), low(6), low(0)]),
        }
    }
}

impl Piece {
    fn source_of(&self, at: usize) -> usize {
        let offset = if self.same { at.saturating_sub(self.at) } else { 0 };
        self.source.saturating_add(offset)
    }
}

/// Whether a line may be one of wrapped base64: it ends with enough of it.
pub fn is_wrapped(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let end = line.len().checked_sub(MIN_COLUMNS);
    end.and_then(|end| line.get(end..))
        .is_some_and(|tail| tail.iter().rev().copied().all(is_base64))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)
}

fn hex(digits: &[u8], count: usize) -> Option<u32> {
    let digits = digits.get(..count)?;
    digits.iter().try_fold(0_u32, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// What a letter after a backslash means.
fn simple(letter: u8) -> Option<u8> {
    Some(match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        b'"' | b'\'' | b'/' => letter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &str) -> String {
        String::from_utf8_lossy(&Canonical::decode(text.as_bytes(), false).bytes).into_owned()
    }

    #[test]
    fn all_spellings_have_one_form() {
        for text in [
            "a/b",
            r"a\/b",
            r"a\u002fb",
            r"a\u002Fb",
            r"a\\/b",
            r"a\\\\u002fb",
            "a%2Fb",
            "a%2fb",
            "a%252Fb",
            r"a\x2fb",
            r"\u0061/\u0062",
        ] {
            assert_eq!(decoded(text), "a/b", "{text}");
        }
        assert_eq!(decoded(r"C:\dir 100% %zz \u12"), r"C:\dir 100% %zz \u12");
        let halves = Canonical::decode("😀".as_bytes(), false).bytes;
        assert_eq!(halves, Canonical::decode(br"\ud83d\ude00", false).bytes);
    }

    #[test]
    fn incomplete_escape_of_an_open_text_is_left_out() {
        for end in [r"\", r"\\", r"\u", r"\u00", r"\x2", "%", "%2", "%25"] {
            let text = format!("ab{end}");
            assert_eq!(Canonical::decode(text.as_bytes(), true).bytes, b"ab", "{end}");
        }
    }

    #[test]
    fn only_breaks_in_base64_are_left_out() {
        let text = b"plain\nabcdefghijklmnop\r\n  qrs\nabcdefghijklmnop!\nx";
        let all = Canonical::unwrapped(text).unwrap();
        assert_eq!(all.bytes, b"plain\nabcdefghijklmnopqrs\nabcdefghijklmnop!\nx");
        assert_eq!(text.get(all.source(&(18..25))), Some(&b"mnop\r\n  qrs"[..]));
        assert_eq!(text.get(all.source(&(18..22))), Some(&b"mnop"[..]));
        assert!(Canonical::unwrapped(b"two\nlines").is_none());
    }

    proptest! {
        #[test]
        fn ranges_lead_back_to_whole_escapes(parts in proptest::collection::vec(prop_oneof!["[a-c ü😀]", Just("\\u00e4".to_owned()), Just("%41".to_owned()), Just("\\\\n".to_owned())], 1..12), cut: proptest::sample::Index, end: proptest::sample::Index) {
            let (from, to) = (cut.index(parts.len()), end.index(parts.len()));
            let (from, to) = (from.min(to), from.max(to) + 1);
            let length = |parts: &[String]| Canonical::decode(parts.concat().as_bytes(), false).bytes.len();
            let all = Canonical::decode(parts.concat().as_bytes(), false);
            let range = length(&parts[..from])..length(&parts[..to]);
            prop_assert_eq!(all.source(&range), parts[..from].concat().len()..parts[..to].concat().len());
        }

        #[test]
        fn garbage_does_not_panic(text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'%'), Just(b'u'), Just(b'2'), Just(b'5'), Just(b'\n')], 0..60), open: bool) {
            let all = Canonical::decode(&text, open);
            for at in 0..=all.bytes.len() {
                prop_assert!(all.source(&(at..all.bytes.len())).end <= text.len());
            }
            Canonical::unwrapped(&text);
        }
    }
}
