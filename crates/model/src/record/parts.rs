//! Parts of a long JSON string, so that no reader has to hold all of it.

/// The longest escape of JSON, `\u0000`.
pub const JSON_ESCAPE: usize = 6;

/// The length of the inside of a JSON string that begins before `bytes`, if its end is there.
pub fn json_string_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at = memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?.saturating_add(at);
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        at = at.saturating_add(2);
    }
}

/// The length of the next part of a string, at most `most`: it ends between two characters, and not in an escape.
///
/// The next `most` and [`JSON_ESCAPE`] bytes are enough to know it.
pub fn json_string_part(bytes: &[u8], most: usize) -> usize {
    let mut at = 0;
    while let Some(escape) = bytes.get(at..most).and_then(|part| memchr::memchr(b'\\', part)) {
        let begin = at.saturating_add(escape);
        let is_long = bytes.get(begin.saturating_add(1)) == Some(&b'u');
        at = begin.saturating_add(if is_long { JSON_ESCAPE } else { 2 });
        if at > most {
            return begin;
        }
    }
    let starts_character = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    (most.saturating_sub(3)..=most)
        .rev()
        .find(starts_character)
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_strings_and_together_the_whole(text in "(\\PC|[\\x00-\\x1f\"\\\\]){0,200}", most in 12_usize..40) {
            let quoted = serde_json::to_string(&text).unwrap();
            let behind = quoted.get(1..).unwrap().as_bytes();
            let length = json_string_length(behind).unwrap();
            prop_assert_eq!(length, behind.len() - 1);
            let (mut rest, mut whole) = (&behind[..length], String::new());
            while rest.len() > most {
                let (part, left) = rest.split_at(json_string_part(rest, most));
                prop_assert!(!part.is_empty());
                let part: String = serde_json::from_slice(&[b"\"", part, b"\""].concat()).unwrap();
                whole.push_str(&part);
                rest = left;
            }
            let last: String = serde_json::from_slice(&[b"\"", rest, b"\""].concat()).unwrap();
            prop_assert_eq!(whole + &last, text);
        }
    }
}
