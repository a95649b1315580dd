//! What a JSON text must not hold, whatever its fields: what could not be given back as it was sent, or not be read again
//! from where it is stored; pure.

use axum::http::StatusCode;

use crate::api::http::problem::Problem;

/// How deep objects and lists may be nested. Readers of JSON give up at 128, and we store and send texts inside of others.
const MAX_DEPTH: usize = 100;

/// Checks a text, as far as it is JSON.
pub(crate) fn check(text: &[u8]) -> Result<(), Problem> {
    let (mut at, mut depth) = (0_usize, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => match end_of_string(text, at) {
                Some(end) => at = end,
                None => return Ok(()),
            },
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return Err(too_deep(text, at));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let number = number(text, at);
                if !is_exact(number) {
                    return Err(too_large(text, at));
                }
                at = at.saturating_add(number.len().saturating_sub(1));
            }
            _ => {}
        }
        at = at.saturating_add(1);
    }
    Ok(())
}

/// Where the string that begins at `at` has its closing quote.
fn end_of_string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at.saturating_add(1);
    loop {
        at = at.saturating_add(memchr::memchr2(b'"', b'\\', text.get(at..)?)?);
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        at = at.saturating_add(2);
    }
}

fn number(text: &[u8], at: usize) -> &[u8] {
    let rest = text.get(at..).unwrap_or_default();
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let length = rest.iter().take_while(|byte| is_part(byte)).count();
    rest.get(..length).unwrap_or_default()
}

/// A whole number beyond 64 bits would be rounded. A fraction is what its 64 bits say, for every program.
fn is_exact(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    if !digits.iter().all(u8::is_ascii_digit) {
        return true;
    }
    let text = std::str::from_utf8(number).unwrap_or_default();
    text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok() || digits.is_empty()
}

fn too_deep(text: &[u8], at: usize) -> Problem {
    let (line, column) = position(text, at);
    let detail = format!(
        "objects and lists are nested more than {MAX_DEPTH} deep at line {line}, column {column}; send a flatter value, or \
         the inner part as a text"
    );
    refusal("too_deep", detail, line, column)
}

/// Without the number, which may be secret.
fn too_large(text: &[u8], at: usize) -> Problem {
    let (line, column) = position(text, at);
    let detail = format!(
        "the whole number at line {line}, column {column} has more than 64 bits and would be rounded; send it as a text"
    );
    refusal("number_too_large", detail, line, column)
}

fn refusal(code: &'static str, detail: String, line: usize, column: usize) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
        .with("line", line)
        .with("column", column)
}

/// Line and column, both from 1.
fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let line = memchr::memchr_iter(b'\n', before).count();
    let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline.saturating_add(1));
    (line.saturating_add(1), at.saturating_sub(start).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> Option<&'static str> {
        check(text.as_bytes()).err().map(|problem| problem.code())
    }

    #[test]
    fn whole_number_that_would_be_rounded_is_refused() {
        for exact in [
            "0",
            "-0",
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
            "1.5",
            "18446744073709551616.0",
            r#""18446744073709551616""#,
            r#"{"18446744073709551616":"a \" 18446744073709551616"}"#,
        ] {
            assert_eq!(refusal(exact), None, "{exact}");
        }
        for rounded in [
            "18446744073709551616",
            "-9223372036854775809",
            "100000000000000000000",
            r#"{"a":[1,{"b":18446744073709551616}]}"#,
        ] {
            assert_eq!(refusal(rounded), Some("number_too_large"), "{rounded}");
        }
        let problem = check(b"{\n \"a\":  18446744073709551616}").unwrap_err();
        assert!(problem.detail().contains("line 2, column 8"), "{}", problem.detail());
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[{\"a\":".repeat(depth / 2), "}]".repeat(depth / 2));
        assert_eq!(refusal(&nested(100)), None);
        assert_eq!(refusal(&nested(102)), Some("too_deep"));
        assert_eq!(refusal(&"[".repeat(1_000_000)), Some("too_deep"));
        assert_eq!(refusal(&format!("\"{}\"", "[".repeat(1_000))), None);
        assert_eq!(refusal(&"[],".repeat(1_000)), None);
    }

    proptest! {
        #[test]
        fn what_is_accepted_comes_back_and_garbage_never_panics(text in prop_oneof!["[\\[\\]{}\",:0-9eE+.a\\\\-]{0,80}", "\\[[0-9]{1,25}\\]"]) {
            let accepted = check(text.as_bytes()).is_ok();
            if let (true, Ok(value)) = (accepted, serde_json::from_str::<Vec<serde_json::Value>>(&text))
                && let [serde_json::Value::Number(number)] = value.as_slice()
                && text.bytes().all(|byte| byte.is_ascii_digit() || b"[]".contains(&byte))
            {
                prop_assert_eq!(format!("[{number}]"), text);
            }
        }
    }
}
