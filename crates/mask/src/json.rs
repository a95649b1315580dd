//! Masks the strings of a JSON text; all other bytes are unchanged.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Masker;
use super::json_text::{JsonString, JsonText, is_word, string_end};
use super::masker::End;

/// Masks a part of a text, whose number is given first; `None` if nothing is hidden.
pub type MaskPart<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Option<Vec<u8>>;

impl Masker {
    /// Masks every string value of a JSON text, except for the values of the `skipped` keys, which are fixed words that
    /// callers compare. Text that is not JSON is masked as bytes.
    pub fn json<'a>(&self, text: &'a [u8], skipped: &[&[u8]]) -> Cow<'a, [u8]> {
        let mut masked = Replaced::new(text);
        let mut key: &[u8] = &[];
        let mut at = 0;
        while let Some(quote) = text.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
            let begin = at.saturating_add(quote).saturating_add(1);
            let Some(end) = string_end(text, begin.saturating_sub(1)) else {
                return self.bytes(text);
            };
            at = end.saturating_add(1);
            let inside = text.get(begin..end).unwrap_or_default();
            let next = text.get(at..).unwrap_or_default().trim_ascii_start().first();
            if next == Some(&b':') {
                key = inside;
                if !is_word(inside)
                    && let Cow::Owned(shown) = self.string(inside)
                {
                    masked.replace(begin..end, &shown);
                }
            } else if !skipped.contains(&key)
                && let Cow::Owned(shown) = self.string(inside)
            {
                masked.replace(begin..end, &shown);
            }
        }
        masked.finish()
    }

    /// Masks a line of an agent. Of a JSON object only the strings are masked, and no words of the format: the line can
    /// still be read. `value` masks a value that continues in other lines, with the text that it belongs to.
    pub fn line<'a>(&self, line: &'a [u8], end: End, value: MaskPart<'_>) -> Option<Cow<'a, [u8]>> {
        let json = JsonText::find(line)?;
        let mut masked = Replaced::new(line);
        let before = line.get(..json.range.start).unwrap_or_default();
        if let Cow::Owned(shown) = self.bytes(before) {
            masked.replace(0..json.range.start, &shown);
        }
        for string in &json.strings {
            if let Some(shown) = self.json_string(line, &json, string, value) {
                masked.replace(string.inside.clone(), &shown);
            }
        }
        let behind = line.get(json.range.end..).unwrap_or_default();
        if let Cow::Owned(shown) = self.chunk(&[], false, behind, end).bytes {
            masked.replace(json.range.end..line.len(), &shown);
        }
        Some(masked.finish())
    }

    fn json_string(&self, line: &[u8], json: &JsonText, string: &JsonString, value: MaskPart<'_>) -> Option<Vec<u8>> {
        let inside = line.get(string.inside.clone())?;
        let channel = json.channel(line, string).filter(|_| json.is_part());
        if let Some(channel) = channel {
            return value(channel, inside);
        }
        match self.string(inside) {
            Cow::Owned(shown) if !string.is_format_word(line) => Some(shown),
            Cow::Owned(_) | Cow::Borrowed(_) => None,
        }
    }

    /// Masks every string in a value. Keys that are words stay.
    pub fn json_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.json_value(value)),
            Value::Object(values) => {
                values.values_mut().for_each(|value| self.json_value(value));
                self.json_keys(values);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn json_keys(&self, values: &mut Map<String, Value>) {
        let is_secret = |key: &String| !is_word(key.as_bytes()) && self.finds(key.as_bytes());
        if values.keys().any(is_secret) {
            let masked = |(key, value): (String, Value)| {
                let shown = if is_secret(&key) {
                    self.text(&key).into_owned()
                } else {
                    key
                };
                (shown, value)
            };
            *values = std::mem::take(values).into_iter().map(masked).collect();
        }
    }
}

/// A text with some parts replaced, in order.
struct Replaced<'a> {
    text: &'a [u8],
    masked: Vec<u8>,
    /// The position up to which `text` was copied to `masked`.
    copied: usize,
}

impl<'a> Replaced<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            masked: Vec::new(),
            copied: 0,
        }
    }

    fn replace(&mut self, range: std::ops::Range<usize>, by: &[u8]) {
        let before = self.text.get(self.copied..range.start);
        self.masked.extend_from_slice(before.unwrap_or_default());
        self.masked.extend_from_slice(by);
        self.copied = range.end;
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        if self.copied == 0 {
            return Cow::Borrowed(self.text);
        }
        let rest = self.text.get(self.copied..);
        self.masked.extend_from_slice(rest.unwrap_or_default());
        Cow::Owned(self.masked)
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
