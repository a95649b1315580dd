//! A secret to all the forms in which it may leave; pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter forms would hide words of ordinary output.
const LEAST: usize = 6;

/// Longer forms are cut into several patterns: this bounds what a reader keeps of an unfinished line.
const LONGEST: usize = 1 << 10;

/// By how much the patterns of one form overlap: wherever a chunk ends in it, enough of one is before the end.
const OVERLAP: usize = 16;

/// Columns at which programs wrap base64: coreutils and MIME, openssl and PEM.
const COLUMNS: [usize; 2] = [76, 64];

/// All patterns to look for, in decoded text as well as in the journal's own JSON.
pub(super) fn patterns<'a>(values: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    for value in values {
        add_forms(value, &mut |form| shown.extend(pieces(&form)));
    }
    // As they stand in the journal's lines, where every string is escaped once more.
    let wire: Vec<String> = shown.iter().flat_map(|form| pieces(&json(form))).collect();
    shown.extend(wire);
    shown
}

fn add_forms(value: &str, add: &mut impl FnMut(String)) {
    add(value.to_owned());
    let escaped = json(value);
    add(ascii(&escaped));
    add(escaped.replace('/', "\\/"));
    add(escaped);
    for kept in ["-_.~", "-_.!~*'()", "-_.~/", "-_.*"] {
        for upper in [true, false] {
            let encoded = percent(value, kept, upper);
            add(encoded.replace("%20", "+"));
            add(encoded);
        }
    }
    for encode in [base64_of, base64url_of] {
        for before in 0..3 {
            add(encode(value, before));
        }
        let alone = encode(value, 0);
        for columns in COLUMNS.into_iter().filter(|columns| *columns < alone.len()) {
            let mut rest = alone.as_str();
            while let Some((line, behind)) = rest.split_at_checked(columns) {
                add(line.to_owned());
                rest = behind;
            }
            add(rest.to_owned());
        }
    }
}

/// Cuts a form into patterns; none when it is too short to be told from ordinary output.
fn pieces(form: &str) -> Vec<String> {
    if form.len() < LEAST {
        return Vec::new();
    }
    let mut pieces = Vec::new();
    let mut rest = form;
    while rest.len() > LONGEST {
        let (piece, _) = rest.split_at(rest.floor_char_boundary(LONGEST));
        pieces.push(piece.to_owned());
        let (_, behind) = rest.split_at(rest.floor_char_boundary(piece.len().saturating_sub(OVERLAP)));
        rest = behind;
    }
    pieces.push(rest.to_owned());
    pieces
}

/// As it stands inside a JSON string, the way serde and `JSON.stringify` write it.
fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(text).to_owned()
}

/// What Python's `json.dumps` makes of characters beyond ASCII.
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

/// Percent-encoding; encoders differ in what they keep beside letters and digits.
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

fn base64_of(value: &str, before: usize) -> String {
    determined(value, before, |bytes| STANDARD_NO_PAD.encode(bytes))
}

fn base64url_of(value: &str, before: usize) -> String {
    determined(value, before, |bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// Those characters of the encoding that are the same whatever stands around the value, `before` bytes of which
/// are in its first group of three.
fn determined(value: &str, before: usize, encode: impl Fn(&[u8]) -> String) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(value.as_bytes());
    let bits = |count: usize| count.saturating_mul(8);
    let (begin, end) = (bits(before).div_ceil(6), bits(bytes.len()) / 6);
    encode(&bytes).get(begin..end).unwrap_or_default().to_owned()
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
    fn a_plain_token_has_few_forms() {
        assert_eq!(of("abcdef0123456789").len(), 4, "itself and three alignments of base64");
    }

    #[test]
    fn encoders_of_many_languages_are_met() {
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
    fn a_long_secret_is_cut_into_patterns_that_overlap() {
        let value = "0123456789äöü".repeat(400);
        let all = pieces(&value);
        assert!(all.len() > 5 && all.iter().all(|piece| piece.len() <= LONGEST && value.contains(piece)));
        assert!(all.windows(2).all(|two| {
            let tail = two[0]
                .get(two[0].ceil_char_boundary(two[0].len() - OVERLAP + 4)..)
                .unwrap();
            two[1].contains(tail)
        }));
    }

    proptest! {
        #[test]
        fn base64_is_found_whatever_stands_around(secret in "[ -~äö]{6,40}", before in proptest::collection::vec(any::<u8>(), 0..9), after in proptest::collection::vec(any::<u8>(), 0..9)) {
            let whole = [before.as_slice(), secret.as_bytes(), after.as_slice()].concat();
            let forms = of(&secret);
            for encoded in [STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
                prop_assert!(forms.iter().any(|form| encoded.contains(form.as_str()) && form.len() + 3 >= secret.len() * 4 / 3));
            }
        }
    }
}
