//! Masks the strings of a JSON text; all other bytes are unchanged.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::json_text::{JsonString, JsonText, is_passphrase, is_word, string_end};
use super::masker::End;
use super::{MASK, Masker};

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
                if let Cow::Owned(shown) = self.string(inside)
                    && !self.is_format_word(inside)
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
    ///
    /// A secret that is more than a string, such as one that is JSON itself, is hidden with all strings that it touches, even
    /// if the line is no JSON then.
    pub fn line<'a>(&self, line: &'a [u8], end: End, value: MaskPart<'_>) -> Option<Cow<'a, [u8]>> {
        let json = JsonText::find(line)?;
        let hidden = self.hidden_json(line, &json);
        let mut rest = hidden.as_slice();
        let mut masked = Replaced::new(line);
        let first = hidden
            .first()
            .map_or(json.range.start, |first| first.start.min(json.range.start));
        if let Cow::Owned(shown) = self.bytes(line.get(..first).unwrap_or_default()) {
            masked.replace(0..first, &shown);
        }
        let mut texts = BTreeSet::new();
        for string in &json.strings {
            // What continues in other lines is needed, also if it is hidden here.
            let shown = self.json_string(line, &json, string, &mut texts, value);
            while let Some((next, behind)) = rest.split_first()
                && next.start <= string.inside.start
            {
                masked.replace(next.clone(), mask_of(line, next, &json));
                rest = behind;
            }
            if let Some(shown) = shown
                && masked.copied <= string.inside.start
            {
                masked.replace(string.inside.clone(), &shown);
            }
        }
        for next in rest {
            masked.replace(next.clone(), mask_of(line, next, &json));
        }
        let last = masked.copied.max(json.range.end);
        if let Cow::Owned(shown) = self.chunk(&[], false, line.get(last..).unwrap_or_default(), end).bytes {
            masked.replace(last..line.len(), &shown);
        }
        Some(masked.finish())
    }

    /// The ranges of secrets that are more than one string, with all strings that they touch, in order.
    fn hidden_json(&self, line: &[u8], json: &JsonText) -> Vec<Range<usize>> {
        let strings: Vec<_> = json.strings.iter().map(|string| string.inside.clone()).collect();
        let mut hidden: Vec<Range<usize>> = Vec::new();
        let is_inside = |span: &Range<usize>| span.end > json.range.start && span.start < json.range.end;
        for mut span in self.beyond_strings(line, &strings).into_iter().filter(is_inside) {
            let first = strings.partition_point(|string| string.end < span.start);
            let last = strings.partition_point(|string| string.start.saturating_sub(1) < span.end);
            for string in strings.get(first..last).unwrap_or_default() {
                span.start = span.start.min(string.start.saturating_sub(1));
                span.end = span.end.max(string.end.saturating_add(1));
            }
            match hidden.last_mut().filter(|before| span.start <= before.end) {
                Some(before) => before.end = before.end.max(span.end),
                None => hidden.push(span),
            }
        }
        hidden
    }

    /// Masks a string; `None` if nothing is hidden. `texts` are those that the line already had a part of: the strings of a
    /// list are not parts of one text.
    fn json_string(
        &self,
        line: &[u8],
        json: &JsonText,
        string: &JsonString,
        texts: &mut BTreeSet<u64>,
        value: MaskPart<'_>,
    ) -> Option<Vec<u8>> {
        let inside = line.get(string.inside.clone())?;
        if json.is_part()
            && let Some(text) = json.text_key(line, string)
            && texts.insert(text)
        {
            return value(text, inside);
        }
        match self.string(inside) {
            Cow::Owned(shown) if !(string.may_be_format_word(line) && self.is_format_word(inside)) => Some(shown),
            Cow::Owned(_) | Cow::Borrowed(_) => None,
        }
    }

    /// Whether a text looks like a word of a format, and has no secret of several words.
    fn is_format_word(&self, text: &[u8]) -> bool {
        let is_passphrase = |span: Range<usize>| text.get(span).is_some_and(is_passphrase);
        is_word(text) && !self.spans(text, End::Closed).into_iter().any(is_passphrase)
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
        let is_secret = |key: &String| self.finds(key.as_bytes()) && !self.is_format_word(key.as_bytes());
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

/// What replaces a part of a line that is more than a string: a string if it is one value, so that the line stays JSON.
fn mask_of(line: &[u8], part: &Range<usize>, json: &JsonText) -> &'static [u8] {
    let bytes = line.get(part.clone()).unwrap_or_default();
    let is_value = *part != json.range && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    if is_value { b"\"***\"" } else { MASK.as_bytes() }
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

    fn replace(&mut self, range: Range<usize>, by: &[u8]) {
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

    fn line(secret: &str, line: &str) -> String {
        let mut secrets = Secrets::default();
        secrets.add(secret);
        let masker = Masker::new(&secrets).unwrap();
        let shown = masker.line(line.as_bytes(), End::Line, &mut |_, _| None).unwrap();
        String::from_utf8(shown.into_owned()).unwrap()
    }

    #[test]
    fn secret_that_is_json_is_hidden() {
        let secret = r#"{"auth":{"a/b":"c d","n":12,"list":["x",true]}}"#;
        assert_eq!(line(secret, secret), "***");
        assert_eq!(line(secret, &format!("KEY={secret} .")), "KEY=*** .");
        assert_eq!(
            line(secret, &format!(r#"{{"a":"b","key":{secret},"c":[1]}}"#)),
            r#"{"a":"b","key":"***","c":[1]}"#
        );
        let quoted = serde_json::to_string(secret).unwrap();
        assert_eq!(line(secret, &format!(r#"{{"text":{quoted}}}"#)), r#"{"text":"***"}"#);
    }

    #[test]
    fn secret_that_is_more_than_a_string_is_hidden() {
        for (secret, text, shown) in [
            (r#"pass":"word"#, r#"{"my pass":"word 1","b":"c"}"#, r#"{***,"b":"c"}"#),
            (
                r#""quoted""#,
                r#"{"a":"quoted","b":"quoted 2"}"#,
                r#"{"a":"***","b":"quoted 2"}"#,
            ),
            (
                "auth={\"a\":1",
                r#"my auth={"a":12,"b":"c"} d"#,
                r#"my ***2,"b":"c"} d"#,
            ),
            ("\"b\"} end", r#"{"a":"b"} end, and "b"} end"#, r#"{"a":***, and ***"#),
            ("[1,2,3]", r#"{"a":[1,2,3],"b":"[1,2,3]"}"#, r#"{"a":"***","b":"***"}"#),
            // The line stays readable: this is no secret that reaches over a string.
            ("471147", r#"{"a":[471147,"471147"]}"#, r#"{"a":[471147,"***"]}"#),
        ] {
            assert_eq!(line(secret, text), shown, "{secret} in {text}");
        }
    }

    #[test]
    fn passphrase_is_no_word_of_the_format() {
        let text = r#"{"type":"tool_use","input":{"kind":"correct-horse-battery-staple","role":"is/correct-horse-battery-staple","correct-horse-battery-staple":1}}"#;
        let shown = r#"{"type":"tool_use","input":{"kind":"***","role":"is/***","***":1}}"#;
        assert_eq!(line("correct-horse-battery-staple", text), shown);
        let mut value: Value = serde_json::from_str(text).unwrap();
        let mut secrets = Secrets::default();
        secrets.add("correct-horse-battery-staple");
        Masker::new(&secrets).unwrap().json_value(&mut value);
        assert_eq!(value, serde_json::from_str::<Value>(shown).unwrap());
        assert_eq!(line("tool_use", text), text);
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
        fn no_line_of_json_shows_a_secret(
            secret in "[a-c\"{}:,\\[\\] ]{6,9}",
            before in "[a-c ]{0,3}",
            keys in proptest::collection::vec("[a-c\"{} ]{0,4}", 1..4),
            values in proptest::collection::vec("[a-c\"{} ]{0,9}", 1..4),
            raw in proptest::option::of("\"[a-c]{0,3}\":[{\\[]{1,2}\"[a-c]{1,3}\""),
        ) {
            let mut secrets = Secrets::default();
            secrets.add(&secret);
            let masker = Masker::new(&secrets);
            prop_assume!(masker.is_some());
            let masker = masker.unwrap();
            let object: std::collections::BTreeMap<_, _> = keys.iter().zip(&values).collect();
            let mut texts = vec![format!("{before}{} {before}", serde_json::to_string(&object).unwrap())];
            // The secret as a part of the structure.
            texts.push(format!("{before}{{\"a\":[{secret}]}}"));
            texts.extend(raw.map(|raw| format!("{before}{{{raw}{secret}}}")));
            for text in texts {
                let Some(shown) = masker.line(text.as_bytes(), End::Line, &mut |_, _| None) else { continue };
                let hidden = masker.spans(text.as_bytes(), End::Closed);
                // A secret of words alone may be a key.
                if !hidden.is_empty() && !is_word(secret.trim().as_bytes()) {
                    prop_assert!(!masker.finds(&shown), "{secret:?} in {text}: {}", String::from_utf8_lossy(&shown));
                }
            }
        }

        #[test]
        fn garbage_does_not_panic(text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\')], 0..60)) {
            masker().json(&text, &[]);
        }
    }
}
