//! The strings of a JSON text, found without parsing it: all other bytes of the text stay as they are.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

/// Nothing that is nested deeper is JSON to anybody.
const MAX_DEPTH: usize = 128;

/// Words in the keys or labels of a line that has a part of a text, or a text that is not complete.
const PART_WORDS: [&str; 4] = ["delta", "chunk", "partial", "updated"];

/// Keys whose values say what a line is, or which text it belongs to.
const LABELS: [&str; 30] = [
    "type",
    "subtype",
    "sessionUpdate",
    "method",
    "role",
    "kind",
    "channel",
    "index",
    "contentIndex",
    "content_index",
    "outputIndex",
    "output_index",
    "parent_tool_use_id",
    "tool_use_id",
    "itemId",
    "item_id",
    "messageId",
    "message_id",
    "messageID",
    "reasoningId",
    "toolCallId",
    "tool_call_id",
    "callId",
    "call_id",
    "sessionId",
    "session_id",
    "sessionID",
    "threadId",
    "turnId",
    "partID",
];

/// A string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonString {
    /// Where it is, without its quotes.
    pub(super) inside: Range<usize>,
    /// It is the key of a member.
    pub(super) is_key: bool,
    /// The key of the member.
    key: Range<usize>,
    /// The keys that lead to the value.
    path: u64,
}

/// The strings of a JSON object.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonText {
    /// Where the object begins and ends.
    pub(super) range: Range<usize>,
    /// In order.
    pub(super) strings: Vec<JsonString>,
    /// The values of labels.
    identity: DefaultHasher,
    /// The labels say that there is a part of a text.
    is_part: bool,
}

impl JsonText {
    /// The first object of a text; `None` if there is none, or if it is not complete.
    pub(super) fn find(text: &[u8]) -> Option<Self> {
        let begin = memchr::memchr_iter(b'{', text).find(|at| {
            let behind = text.get(at.saturating_add(1)..).unwrap_or_default().trim_ascii_start();
            matches!(behind.first(), Some(b'"' | b'}'))
        })?;
        Scan::new(text, begin).run()
    }

    /// Whether it has parts of texts that continue in another line.
    pub(super) fn is_part(&self) -> bool {
        self.is_part
    }

    /// Which text a value belongs to: its keys, and the labels of its line, as a number. Values that are labels or ids have
    /// none.
    pub(super) fn text_key(&self, text: &[u8], string: &JsonString) -> Option<u64> {
        let key = string.key(text);
        let is_name = is_label(key)
            || [
                &b"id"[..],
                b"Id",
                b"ID",
                b"time",
                b"timestamp",
                b"model",
                b"version",
                b"status",
            ]
            .iter()
            .any(|end| key.ends_with(end));
        (!string.is_key && !is_name).then(|| {
            let mut text = self.identity.clone();
            string.path.hash(&mut text);
            text.finish()
        })
    }
}

impl JsonString {
    /// Whether the string may be a word of the format, which programs compare: a key, or what a line is.
    pub(super) fn may_be_format_word(&self, text: &[u8]) -> bool {
        const WORD_KEYS: [&[u8]; 8] = [
            b"type",
            b"subtype",
            b"sessionUpdate",
            b"method",
            b"role",
            b"kind",
            b"status",
            b"jsonrpc",
        ];
        let key = self.key(text);
        self.is_key || WORD_KEYS.contains(&key) || key.ends_with(b"stop_reason") || key.ends_with(b"stopReason")
    }

    /// The key of the member.
    fn key<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.key.clone()).unwrap_or_default()
    }
}

/// What words of a format have besides letters.
const WORD_SEPARATORS: &[u8] = b"_-./$";

/// Whether a text looks like a word of a format. Secrets have digits, spaces or other characters.
pub(super) fn is_word(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_alphabetic() || WORD_SEPARATORS.contains(byte))
}

/// Whether a secret of letters is several words, such as `correct-horse-battery-staple`, and no word of a format.
pub(super) fn is_passphrase(secret: &[u8]) -> bool {
    secret.iter().filter(|byte| WORD_SEPARATORS.contains(byte)).count() >= 2
}

/// The end of the string that begins at `at` with its quote.
pub(super) fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at.saturating_add(1);
    loop {
        let special = memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        at = at.saturating_add(special);
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        at = at.saturating_add(2);
    }
}

/// The state of reading an object.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// The members that the open brackets belong to.
    open: Vec<Member>,
    member: Member,
    found: JsonText,
}

/// The member that a value belongs to.
#[derive(Clone, Default)]
struct Member {
    path: u64,
    key: Range<usize>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [u8], begin: usize) -> Self {
        let found = JsonText {
            range: begin..begin,
            ..JsonText::default()
        };
        Self {
            text,
            at: begin,
            open: Vec::new(),
            member: Member::default(),
            found,
        }
    }

    fn run(mut self) -> Option<JsonText> {
        while let Some(byte) = self.text.get(self.at).copied() {
            let begin = self.at;
            self.at = begin.saturating_add(1);
            match byte {
                b'"' => self.string(begin)?,
                b'{' | b'[' if self.open.len() == MAX_DEPTH => return None,
                b'{' | b'[' => self.open.push(self.member.clone()),
                b'}' | b']' => {
                    self.member = self.open.pop()?;
                    if self.open.is_empty() {
                        self.found.range.end = self.at;
                        return Some(self.found);
                    }
                }
                b',' | b':' => {}
                byte if byte.is_ascii_whitespace() => {}
                _ => self.literal(begin)?,
            }
        }
        None
    }

    fn string(&mut self, quote: usize) -> Option<()> {
        let end = string_end(self.text, quote)?;
        self.at = end.saturating_add(1);
        let inside = quote.saturating_add(1)..end;
        let behind = self.text.get(self.at..)?.trim_ascii_start();
        let is_key = behind.first() == Some(&b':');
        let value = self.text.get(inside.clone())?;
        if is_key {
            let mut path = DefaultHasher::new();
            (self.open.last()?.path, value).hash(&mut path);
            self.member = Member {
                path: path.finish(),
                key: inside.clone(),
            };
            self.found.is_part |= has_part_word(value);
        } else {
            self.label(value);
        }
        let Member { path, key } = self.member.clone();
        let string = JsonString {
            inside,
            is_key,
            key,
            path,
        };
        self.found.strings.push(string);
        Some(())
    }

    /// A number, `true`, `false` or `null`.
    fn literal(&mut self, begin: usize) -> Option<()> {
        let rest = self.text.get(begin..)?;
        let is_inside = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = rest.iter().take_while(is_inside).count();
        let value = rest.get(..length).filter(|value| !value.is_empty())?;
        let is_number = value
            .iter()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
        if !is_number && ![b"true".as_slice(), b"false", b"null"].contains(&value) {
            return None;
        }
        self.label(value);
        self.at = begin.saturating_add(length);
        Some(())
    }

    fn label(&mut self, value: &[u8]) {
        let key = self.text.get(self.member.key.clone()).unwrap_or_default();
        if is_label(key) {
            self.found.is_part |= has_part_word(value) || value == b"token";
            (key, value).hash(&mut self.found.identity);
        }
    }
}

fn is_label(key: &[u8]) -> bool {
    LABELS.iter().any(|label| label.as_bytes() == key)
}

fn has_part_word(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    PART_WORDS
        .iter()
        .any(|word| memchr::memmem::find(&text, word.as_bytes()).is_some())
}

/// Grows ranges within a JSON string, which are in order, to whole escapes, so that what is left is a string.
pub(super) fn whole_escapes(inside: &[u8], ranges: &mut [Range<usize>]) {
    let mut escape = 0..0;
    for range in ranges {
        loop {
            if escape.start < range.start && range.start < escape.end {
                range.start = escape.start;
            }
            if escape.start < range.end && range.end < escape.end {
                range.end = escape.end.min(inside.len());
            }
            if escape.end >= range.end {
                break;
            }
            let rest = inside.get(escape.end..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\\', rest) else {
                break;
            };
            let begin = escape.end.saturating_add(found);
            let length = escape_len(rest.get(found..).unwrap_or_default());
            escape = begin..begin.saturating_add(length);
        }
    }
}

/// The length of an escape. Two halves of a character are one.
fn escape_len(text: &[u8]) -> usize {
    let half = |text: &[u8], halves: &[u8]| {
        let digit = text.get(3).map(u8::to_ascii_lowercase);
        text.starts_with(b"\\u")
            && text.get(2).is_some_and(|digit| digit.eq_ignore_ascii_case(&b'd'))
            && digit.is_some_and(|digit| halves.contains(&digit))
    };
    match text.get(1) {
        Some(b'u') if half(text, b"89ab") && text.get(6..).is_some_and(|next| half(next, b"cdef")) => 12,
        Some(b'u') => 6,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inside<'a>(text: &'a str, string: &JsonString) -> &'a str {
        text.get(string.inside.clone()).unwrap()
    }

    #[test]
    fn values_belong_to_texts_and_keys_do_not() {
        let line =
            r#"{"type":"stream_event","event":{"delta":{"text":"ab \"c","type":"text_delta"},"index":0},"uuid":"1-2"}"#;
        let json = JsonText::find(line.as_bytes()).unwrap();
        assert!(json.is_part() && json.range == (0..line.len()));
        let texts = |line: &str| {
            let json = JsonText::find(line.as_bytes()).unwrap();
            let strings = json.strings.iter();
            let found = strings
                .filter_map(|string| Some((inside(line, string).to_owned(), json.text_key(line.as_bytes(), string)?)));
            found.collect::<Vec<_>>()
        };
        let found = texts(line);
        assert_eq!(
            found.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(),
            [r#"ab \"c"#]
        );
        let text_key = |line: &str| texts(line).first().unwrap().1;
        assert_eq!(text_key(&line.replace("ab", "cd").replace("1-2", "3-4")), found[0].1);
        for (of, other) in [
            ("text_delta", "thinking_delta"),
            ("\"index\":0", "\"index\":1"),
            ("\"event\":", "\"other\":"),
        ] {
            assert_ne!(text_key(&line.replace(of, other)), found[0].1, "{other}");
        }
        let words: Vec<_> = json
            .strings
            .iter()
            .filter(|string| string.may_be_format_word(line.as_bytes()))
            .map(|string| inside(line, string))
            .collect();
        assert_eq!(
            words,
            [
                "type",
                "stream_event",
                "event",
                "delta",
                "text",
                "type",
                "text_delta",
                "index",
                "uuid"
            ]
        );
    }

    #[test]
    fn only_complete_objects_are_json() {
        for text in [
            "plain",
            "{x}",
            r#"{"a":1"#,
            r#"{"a":sk-1}"#,
            r#"{"a""#,
            "[1]",
            r#"{"a":"b]"#,
            r#"{"a":b"c"}"#,
        ] {
            assert!(JsonText::find(text.as_bytes()).is_none(), "{text}");
        }
        for (text, range) in [
            ("x> { \"a\" : [1,true] } y", 3..21),
            ("{}", 0..2),
            ("${a} {\"b\":[{}]}", 5..15),
        ] {
            assert_eq!(JsonText::find(text.as_bytes()).unwrap().range, range, "{text}");
        }
    }

    #[test]
    fn escapes_stay_whole() {
        let text = br"a\\b\u00e4c\ud83d\ude00d";
        for (part, whole) in [
            (2..4, 1..4),
            (3..5, 3..10),
            (12..20, 11..23),
            (0..1, 0..1),
            (16..17, 11..23),
        ] {
            let mut ranges = [0..0, part];
            whole_escapes(text, &mut ranges);
            assert_eq!(ranges, [0..0, whole]);
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_no_json() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(JsonText::find(nested(MAX_DEPTH).as_bytes()).is_some());
        assert!(JsonText::find(nested(MAX_DEPTH + 1).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn what_serde_accepts_is_json(value in proptest::collection::btree_map("\\PC{0,5}", "\\PC{0,9}", 0..4)) {
            let text = serde_json::to_vec(&value).unwrap();
            let json = JsonText::find(&text).unwrap();
            prop_assert_eq!((json.range.clone(), json.strings.len()), (0..text.len(), 2 * value.len()));
        }

        #[test]
        fn garbage_does_not_panic(text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b':')], 0..60)) {
            JsonText::find(&text);
            whole_escapes(&text, &mut [0..text.len() / 3, text.len() / 2..text.len()]);
        }
    }
}
