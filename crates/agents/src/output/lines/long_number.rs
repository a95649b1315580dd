//! Whole numbers of more than 64 bits, which our JSON values cannot hold exactly.

use memchr::memchr2;

/// The fewest digits of a number that can have more than 64 bits.
const MIN_DIGITS: usize = 19;

/// Whether a line has such a number outside of its texts. A fraction is what its 64 bits say, for every program.
pub(crate) fn has_long_number(line: &[u8]) -> bool {
    has_long_run(line) && find_in_json(line).is_some()
}

/// Cheap, and enough for almost every line.
fn has_long_run(line: &[u8]) -> bool {
    let mut run = 0_usize;
    line.iter().any(|byte| {
        run = if byte.is_ascii_digit() {
            run.saturating_add(1)
        } else {
            0
        };
        run >= MIN_DIGITS
    })
}

fn find_in_json(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => behind_text(behind)?,
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"-+.eE".contains(byte);
                let length = rest.iter().take_while(|byte| is_part(byte)).count();
                let (number, behind) = rest.split_at_checked(length)?;
                if is_rounded(number) {
                    return Some(number);
                }
                behind
            }
            _ => behind,
        };
    }
    None
}

/// What is behind the closing quote of a text.
fn behind_text(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    loop {
        let at = memchr2(b'"', b'\\', rest)?;
        let is_end = rest.get(at) == Some(&b'"');
        rest = rest.get(at.saturating_add(if is_end { 1 } else { 2 })..)?;
        if is_end {
            return Some(rest);
        }
    }
}

fn is_rounded(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let text = std::str::from_utf8(number).unwrap_or_default();
    digits.len() >= MIN_DIGITS
        && digits.iter().all(u8::is_ascii_digit)
        && text.parse::<u64>().is_err()
        && text.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_beyond_64_bits_are_long() {
        for long in [
            r#"{"id":18446744073709551616}"#,
            r#"{"a\"":"x","b":[-9223372036854775809]}"#,
            r#"{"n": 123456789012345678901234567890, "s": "\\"}"#,
        ] {
            assert!(has_long_number(long.as_bytes()), "{long}");
        }
        for short in [
            r#"{"id":18446744073709551615,"n":-9223372036854775808}"#,
            r#"{"s":"18446744073709551616 \"18446744073709551616"}"#,
            r#"{"f":0.12345678901234567890123,"e":12345678901234567890e3}"#,
            "",
            "\"18446744073709551616",
        ] {
            assert!(!has_long_number(short.as_bytes()), "{short}");
        }
    }
}
