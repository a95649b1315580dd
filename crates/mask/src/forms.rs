//! The forms in which a secret can appear in output.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Shorter forms would hide ordinary words.
const MIN_LEN: usize = 6;

/// Longer forms are divided into several patterns. This limits how much a reader keeps of an unfinished line.
const MAX_PATTERN: usize = 1 << 10;

/// The overlap between the patterns of a form, so that a chunk that ends anywhere in the form ends with enough of a pattern.
const OVERLAP: usize = 16;

/// Line lengths of wrapped base64: coreutils and MIME, openssl and PEM.
const COLUMNS: [usize; 2] = [76, 64];

/// Characters that percent-encoders keep besides letters and digits: RFC 3986 (Go, Rust), `encodeURIComponent`
/// (JavaScript), paths (Python), HTML forms.
const PERCENT_KEPT: [&str; 4] = ["-_.~", "-_.!~*'()", "-_.~/", "-_.*"];

/// All patterns to search for, in decoded text and in the JSON of the journal.
pub(super) fn patterns<'a>(values: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut patterns = BTreeSet::new();
    for value in values {
        add_forms(value, &mut |form| patterns.extend(divide(&form)));
    }
    // In the lines of the journal every string is escaped once more.
    let escaped: Vec<String> = patterns.iter().flat_map(|form| divide(&json(form))).collect();
    patterns.extend(escaped);
    patterns
}

fn add_forms(value: &str, add: &mut impl FnMut(String)) {
    add(value.to_owned());
    let escaped = json(value);
    add(ascii(&escaped));
    add(escaped.replace('/', "\\/"));
    add(escaped);
    for kept in PERCENT_KEPT {
        for upper in [true, false] {
            let encoded = percent(value, kept, upper);
            add(encoded.replace("%20", "+"));
            add(encoded);
        }
    }
    let mut add_base64 = |form: &str| {
        // The alphabet for URLs.
        add(form.replace('+', "-").replace('/', "_"));
        add(form.to_owned());
    };
    for before in 0..3 {
        add_base64(&base64(value, before));
    }
    let alone = base64(value, 0);
    for columns in COLUMNS.into_iter().filter(|columns| *columns < alone.len()) {
        let mut rest = alone.as_str();
        while let Some((line, behind)) = rest.split_at_checked(columns) {
            add_base64(line);
            rest = behind;
        }
        add_base64(rest);
    }
}

/// Divides a form into patterns; none if the form is too short.
fn divide(form: &str) -> Vec<String> {
    if form.len() < MIN_LEN {
        return Vec::new();
    }
    let mut pieces = Vec::new();
    let mut rest = form;
    while rest.len() > MAX_PATTERN {
        let (piece, _) = rest.split_at(rest.floor_char_boundary(MAX_PATTERN));
        pieces.push(piece.to_owned());
        let (_, behind) = rest.split_at(rest.floor_char_boundary(piece.len().saturating_sub(OVERLAP)));
        rest = behind;
    }
    pieces.push(rest.to_owned());
    pieces
}

/// The form inside a JSON string, as serde and `JSON.stringify` write it.
fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(text).to_owned()
}

/// Escapes characters that are not ASCII, like Python's `json.dumps`.
fn ascii(escaped: &str) -> String {
    let mut text = String::with_capacity(escaped.len());
    for letter in escaped.chars() {
        if letter.is_ascii() {
            text.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _written = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// Percent-encodes all but letters, digits and the `kept` characters.
fn percent(value: &str, kept: &str, upper: bool) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric() || kept.contains(letter) {
            text.push(letter);
        } else {
            let _written = if upper {
                write!(text, "%{byte:02X}")
            } else {
                write!(text, "%{byte:02x}")
            };
        }
    }
    text
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

    fn of(value: &str) -> BTreeSet<String> {
        patterns([value].into_iter())
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
                    assert!(forms.contains(line), "{line}");
                }
            }
        }
    }

    #[test]
    fn forms_of_many_encoders_are_known() {
        let forms = of("a b/c+d\"ü'(x)");
        for expected in [
            "a b/c+d\"ü'(x)",
            r#"a b/c+d\"ü'(x)"#,
            r#"a b\/c+d\"ü'(x)"#,
            r#"a b/c+d\"\u00fc'(x)"#,
            "a%20b%2Fc%2Bd%22%C3%BC'(x)",
            "a%20b%2fc%2bd%22%c3%bc%27%28x%29",
            "a+b%2Fc%2Bd%22%C3%BC%27%28x%29",
            "a%20b/c%2Bd%22%C3%BC%27%28x%29",
        ] {
            assert!(forms.contains(expected), "{expected}");
        }
    }

    #[test]
    fn long_secret_has_overlapping_patterns() {
        let value = "0123456789äöü".repeat(400);
        let all = divide(&value);
        assert!(
            all.len() > 5
                && all
                    .iter()
                    .all(|piece| piece.len() <= MAX_PATTERN && value.contains(piece))
        );
        assert!(all.windows(2).all(|two| {
            let tail = two[0]
                .get(two[0].ceil_char_boundary(two[0].len() - OVERLAP + 4)..)
                .unwrap();
            two[1].contains(tail)
        }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn base64_is_found_between_other_bytes(secret in "[ -~äö]{6,40}", before in proptest::collection::vec(any::<u8>(), 0..9), after in proptest::collection::vec(any::<u8>(), 0..9)) {
            let whole = [before.as_slice(), secret.as_bytes(), after.as_slice()].concat();
            let forms = of(&secret);
            for encoded in [STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
                prop_assert!(forms.iter().any(|form| encoded.contains(form.as_str()) && form.len() + 3 >= secret.len() * 4 / 3));
            }
        }
    }
}
