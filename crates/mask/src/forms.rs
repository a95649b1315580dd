//! The forms in which a secret can appear in output, besides its spellings with escapes.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::canonical::{Canonical, PASSES};

/// Shorter forms would hide ordinary words.
const MIN_LEN: usize = 6;

/// Longer forms are divided into several patterns. This limits how much a reader keeps of an unfinished line.
const MAX_PATTERN: usize = 1 << 10;

/// The overlap between the patterns of a form, so that a chunk that ends anywhere in the form ends with enough of a pattern.
const OVERLAP: usize = 16;

/// Line lengths of wrapped base64: coreutils and MIME, openssl and PEM. Each line is a form, because it may be shown alone.
const COLUMNS: [usize; 2] = [76, 64];

/// The patterns to search for.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    pub(super) all: BTreeSet<Vec<u8>>,
    /// Those of base64.
    pub(super) base64: BTreeSet<Vec<u8>>,
}

impl Patterns {
    pub(super) fn of<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut patterns = Self::default();
        for value in values {
            patterns.add(value);
        }
        patterns.all.extend(patterns.base64.iter().cloned());
        patterns
    }

    fn add(&mut self, value: &str) {
        // HTML forms write a space as a plus.
        for form in [value.to_owned(), value.replace(' ', "+")] {
            let mut form = form.into_bytes();
            for _ in 0..=PASSES {
                self.all.extend(divide(&form));
                form = Canonical::decode(&form, false).bytes;
            }
        }
        // What is encoded may be JSON.
        for bytes in [value.to_owned(), json(value)] {
            for form in base64_forms(&bytes) {
                // The alphabet for URLs.
                self.base64
                    .extend(divide(form.replace('+', "-").replace('/', "_").as_bytes()));
                self.base64.extend(divide(form.as_bytes()));
            }
        }
    }
}

fn base64_forms(value: &str) -> Vec<String> {
    let mut forms: Vec<String> = (0..3).map(|before| base64(value, before)).collect();
    let alone = base64(value, 0);
    for columns in COLUMNS.into_iter().filter(|columns| *columns < alone.len()) {
        let mut rest = alone.as_str();
        while let Some((line, behind)) = rest.split_at_checked(columns) {
            forms.push(line.to_owned());
            rest = behind;
        }
        forms.push(rest.to_owned());
    }
    forms
}

/// Divides a form into patterns; none if the form is too short.
fn divide(form: &[u8]) -> Vec<Vec<u8>> {
    if form.len() < MIN_LEN {
        return Vec::new();
    }
    let mut pieces = Vec::new();
    let mut rest = form;
    while rest.len() > MAX_PATTERN {
        let end = floor(rest, MAX_PATTERN);
        pieces.push(rest.get(..end).unwrap_or_default().to_vec());
        rest = rest.get(floor(rest, end.saturating_sub(OVERLAP))..).unwrap_or_default();
    }
    pieces.push(rest.to_vec());
    pieces
}

/// The largest position up to `at` that is not within a character.
fn floor(text: &[u8], at: usize) -> usize {
    let begins = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    (0..=at).rev().find(begins).unwrap_or(at)
}

/// The form inside a JSON string, as serde and `JSON.stringify` write it.
fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(text).to_owned()
}

/// The characters of the base64 encoding that do not depend on the bytes around the value. `before` is the number of
/// other bytes in the first group of three.
fn base64(value: &str, before: usize) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(value.as_bytes());
    let bits = |count: usize| count.saturating_mul(8);
    let (begin, end) = (bits(before).div_ceil(6), bits(bytes.len()) / 6);
    let encoded = STANDARD_NO_PAD.encode(&bytes);
    encoded.get(begin..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    fn of(value: &str) -> BTreeSet<Vec<u8>> {
        Patterns::of([value].into_iter()).all
    }

    #[test]
    fn plain_token_has_four_forms() {
        assert_eq!(of("abcdef0123456789").len(), 4, "itself and three alignments of base64");
    }

    #[test]
    fn every_line_of_wrapped_base64_is_a_form() {
        let value = "sk-0123456789?>".repeat(8);
        let forms = of(&value);
        for encoded in [STANDARD.encode(&value), URL_SAFE.encode(&value)] {
            for columns in COLUMNS {
                for line in encoded.as_bytes().chunks(columns) {
                    let line = std::str::from_utf8(line).unwrap().trim_end_matches('=');
                    assert!(forms.contains(line.as_bytes()), "{line}");
                }
            }
        }
    }

    #[test]
    fn long_secret_has_overlapping_patterns() {
        let value = "0123456789äöü".repeat(400);
        let all = divide(value.as_bytes());
        let texts: Vec<&str> = all.iter().map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        assert!(
            texts.len() > 5
                && texts
                    .iter()
                    .all(|piece| piece.len() <= MAX_PATTERN && value.contains(piece))
        );
        assert!(texts.windows(2).all(|two| {
            let tail = two[0].ceil_char_boundary(two[0].len() - OVERLAP + 4);
            two[1].contains(two[0].get(tail..).unwrap())
        }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn base64_is_found_between_other_bytes(secret in "[ -~äö]{6,40}", before in proptest::collection::vec(any::<u8>(), 0..9), after in proptest::collection::vec(any::<u8>(), 0..9)) {
            let whole = [before.as_slice(), secret.as_bytes(), after.as_slice()].concat();
            let forms = of(&secret);
            for encoded in [STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
                let is_in = |form: &Vec<u8>| memchr::memmem::find(encoded.as_bytes(), form).is_some();
                prop_assert!(forms.iter().any(|form| is_in(form) && form.len() + 3 >= secret.len() * 4 / 3));
            }
        }
    }
}
