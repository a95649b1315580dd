//! Masks the string values of a JSON text; all other bytes are unchanged.

use std::borrow::Cow;

use serde_json::Value;

use super::Masker;

impl Masker {
    /// Masks every string value of a JSON text, except for the values of the `skipped` keys, which are fixed words that
    /// callers compare. Text that is not JSON is masked as bytes.
    pub fn json<'a>(&self, text: &'a [u8], skipped: &[&[u8]]) -> Cow<'a, [u8]> {
        let mut masked = Vec::new();
        // The position up to which `text` was copied to `masked`.
        let mut copied = 0;
        let mut key: &[u8] = &[];
        let mut at = 0;
        while let Some(quote) = text.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
            let begin = at.saturating_add(quote);
            let Some(token) = text.get(begin..).and_then(string) else {
                return self.bytes(text);
            };
            at = begin.saturating_add(token.len());
            let next = text.get(at..).unwrap_or_default().trim_ascii_start().first();
            if next == Some(&b':') {
                key = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
            } else if !skipped.contains(&key)
                && let Some(token) = self.token(token)
            {
                masked.extend_from_slice(text.get(copied..begin).unwrap_or_default());
                masked.extend_from_slice(&token);
                copied = at;
            }
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        masked.extend_from_slice(text.get(copied..).unwrap_or_default());
        Cow::Owned(masked)
    }

    /// Masks every string in a value, but no key.
    pub fn json_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.json_value(value)),
            Value::Object(values) => values.values_mut().for_each(|value| self.json_value(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Masks a string with its quotes; `None` if there is nothing to mask.
    fn token(&self, token: &[u8]) -> Option<Vec<u8>> {
        let Ok(value) = serde_json::from_slice::<Cow<'_, str>>(token) else {
            // Not a valid JSON string; its bytes are masked.
            return Some(self.bytes(token).into_owned()).filter(|masked| masked != token);
        };
        match self.text(&value) {
            Cow::Borrowed(_) => None,
            Cow::Owned(masked) => serde_json::to_vec(&masked).ok(),
        }
    }
}

/// The string at the start of a JSON text, with its quotes.
fn string(text: &[u8]) -> Option<&[u8]> {
    let mut at = 1;
    loop {
        let special = memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        at = at.saturating_add(special);
        if text.get(at) == Some(&b'"') {
            return text.get(..=at);
        }
        at = at.saturating_add(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secrets;
    use proptest::prelude::*;

    fn masker() -> Masker {
        let mut secrets = Secrets::default();
        secrets.add("s3cret\"value");
        secrets.add("completed");
        Masker::new(&secrets).unwrap()
    }

    #[test]
    fn only_string_values_are_masked() {
        let text = br#"{"seq":1, "type":"completed","completed":"a \"s3cret\\\"value\"", "list":["completed",7,{"x":"s3cret\"value!"}]}"#;
        let expected = br#"{"seq":1, "type":"completed","completed":"a \"***\"", "list":["***",7,{"x":"***!"}]}"#;
        let masked = masker().json(text, &[b"type"]).into_owned();
        assert_eq!(String::from_utf8_lossy(&masked), String::from_utf8_lossy(expected));
    }

    #[test]
    fn all_strings_of_a_value_are_masked() {
        let mut value = serde_json::json!({ "completed": ["a completed", 7, { "x": "completed" }] });
        masker().json_value(&mut value);
        assert_eq!(value, serde_json::json!({ "completed": ["a ***", 7, { "x": "***" }] }));
    }

    #[test]
    fn incomplete_json_is_masked_as_bytes() {
        assert_eq!(
            *masker().json(br#"{"a":"completed","b":"x"#, &[]),
            *br#"{"a":"***","b":"x"#
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_string_is_masked_and_stays_valid(words in proptest::collection::vec("(\\PC{0,9}|completed|s3cret\"value|[\"\\\\\n:]){0,5}", 0..5)) {
            let (text, masker) = (serde_json::to_vec(&words).unwrap(), masker());
            let masked: Vec<String> = serde_json::from_slice(&masker.json(&text, &[])).unwrap();
            let expected: Vec<_> = words.iter().map(|word| masker.text(word).into_owned()).collect();
            prop_assert_eq!(masked, expected);
        }

        #[test]
        fn garbage_does_not_panic(text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\')], 0..60)) {
            masker().json(&text, &[]);
        }
    }
}
