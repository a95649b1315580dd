//! Lines that are not clean.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn object(text: &str) -> JsonPart<'_> {
    JsonPart::Object(text.as_bytes())
}

fn text(text: &str) -> JsonPart<'_> {
    JsonPart::Text(text.as_bytes())
}

#[test]
fn an_object_is_found_behind_what_a_terminal_would_get() {
    let message = r#"{"a":{"b":"}{"}}"#;
    for before in [
        "",
        "\u{feff}",
        "\x1b]0;title\x07",
        "\x1b]0;{\"a\":1}\x1b\\",
        "\x1b[?2004h\x1b[0m",
        "\x1b(B\x1b=\r",
        "\x1bP1$r{\"\x1b\\ \0",
    ] {
        let line = format!("{before}{message}");
        assert_eq!(json_parts(line.as_bytes()), [object(message)], "{before:?}");
        let line = format!("{message}\x1b[?2004l{before}\r");
        assert_eq!(json_parts(line.as_bytes()), [object(message)], "{before:?}");
    }
}

#[test]
fn text_around_and_between_objects_is_kept() {
    let line = r#"proj main | {"a":1}{"b":2} and {"c":3} done"#;
    let expected = [
        text("proj main | "),
        object(r#"{"a":1}"#),
        object(r#"{"b":2}"#),
        text(" and "),
        object(r#"{"c":3}"#),
        text(" done"),
    ];
    assert_eq!(json_parts(line.as_bytes()), expected);
    let line = r#"[~/x] {env} {"a":1}"#;
    assert_eq!(
        json_parts(line.as_bytes()),
        [text("[~/x] {env} "), object(r#"{"a":1}"#)]
    );
}

#[test]
fn an_object_inside_a_text_is_no_message() {
    for line in [
        r#"[debug] got { kind: 'x', data: {"type":"result","result":"ok"} }"#,
        r#"[{"type":"result"}]"#,
        r#"[ {"type":"result"}, {"type":"result"} ]"#,
        r#"{{ {"type":"result"}"#,
        r#"it said "{"type":"result"}""#,
        r#"it said "{"type":"result"}" and [{"type":"result"}"#,
    ] {
        assert_eq!(json_parts(line.as_bytes()), [], "{line}");
    }
}

#[test]
fn a_control_sequence_that_is_cut_off_does_not_cost_the_object() {
    for before in ["\x1b", "\x1b[", "\x1b[3", "\x1b]"] {
        let line = format!("{before}{{\"a\":1}}");
        assert_eq!(
            json_parts(line.as_bytes()).last(),
            Some(&object(r#"{"a":1}"#)),
            "{before:?}"
        );
    }
}

#[test]
fn an_opening_without_its_end_does_not_hide_the_only_object() {
    for before in [
        "[?2004h",
        "^[[?2004h",
        "screen 12\" > ",
        "proj [main > ",
        ":[ ",
        "\x1b]0;it\"s",
    ] {
        for behind in ["", " ", "\r", "\x1b[0m"] {
            let line = format!("{before}{{\"a\":1}}{behind}");
            let parts = json_parts(line.as_bytes());
            assert!(parts.contains(&object(r#"{"a":1}"#)), "{line:?}: {parts:?}");
        }
    }
}

#[test]
fn a_line_without_a_whole_object_has_no_parts() {
    for line in [
        "",
        "hello",
        "[1]",
        "{",
        "{}x{",
        r#"{"a":"#,
        r#"{"a":{"type":"result"}"#,
        "\x1b]0;{\"a\":1}\x07",
        "\x1b",
    ] {
        let parts = json_parts(line.as_bytes());
        let is_known = parts
            .iter()
            .any(|part| matches!(part, JsonPart::Object(object) if *object != b"{}"));
        assert!(!is_known, "{line:?}: {parts:?}");
    }
}

#[test]
fn a_damaged_object_does_not_hide_the_one_behind_it() {
    let line = r#"{"type":"assistant","mess{"type":"result"}"#;
    assert_eq!(
        json_parts(line.as_bytes()).last(),
        Some(&object(r#"{"type":"result"}"#))
    );
    // What is inside a damaged object is no message.
    let line = r#"{"a":x,"b":{"type":"result"},"c":1}"#;
    assert_eq!(json_parts(line.as_bytes()), []);
}

#[test]
fn hostile_lines_take_linear_time() {
    let half = 1 << 19;
    for unit in [
        "{\"",
        "{\"a\":",
        "{\"a\":x",
        "{\"a\":1}x",
        "\x1b]",
        "\x1b[",
        "{",
        "\\ud83d",
        "{\"a\":1}  ",
        "[{\"a\":1}",
    ] {
        let line = unit.repeat(half / unit.len());
        let _parts = json_parts(line.as_bytes());
        let _repaired = repair_json(&line);
    }
}

#[test]
fn half_a_character_becomes_the_replacement_character() {
    let cases = [
        (r#""cut \ud83d here""#, "cut \u{fffd} here"),
        (r#""\uDE00""#, "\u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
        (r#""\\ud83d""#, "\\ud83d"),
        (r#""\ud83d\ude00""#, "😀"),
    ];
    for (json, expected) in cases {
        let read: String = serde_json::from_str(&repair_json(json)).unwrap();
        assert_eq!(read, expected, "{json}");
    }
}

fn chunks() -> Halves {
    Halves::new(&[&["delta", "text"], &["thought"]])
}

/// The texts of all chunks, each with its key.
fn texts(halves: &mut Halves, objects: &[&str]) -> Vec<String> {
    let mut texts = Vec::new();
    let mut read = |json: &[u8]| {
        let value: Value = serde_json::from_slice(json).unwrap();
        let (said, thought) = (value.pointer("/delta/text"), value.get("thought"));
        texts.extend(said.map(|text| text.as_str().unwrap().to_owned()));
        texts.extend(thought.map(|text| format!("({})", text.as_str().unwrap())));
    };
    for object in objects {
        let clean = halves.clean(object.as_bytes());
        if let Some(before) = &clean.before {
            read(before.as_bytes());
        }
        read(&clean.object);
    }
    texts
}

#[test]
fn halves_in_neighbouring_chunks_are_joined() {
    let first = r#"{"delta":{"text":"a\ud83d"}}"#;
    let second = r#"{"delta":{"text":"\ude00b"}}"#;
    assert_eq!(texts(&mut chunks(), &[first, second]), ["a", "😀b"]);
    // Chunks of another text may come in between.
    let thought = r#"{"thought":"hm"}"#;
    assert_eq!(texts(&mut chunks(), &[first, thought, second]), ["a", "(hm)", "😀b"]);
    // Every character is cut.
    let both = r#"{"delta":{"text":"\ude00\ud83d"}}"#;
    assert_eq!(texts(&mut chunks(), &[first, both, second]), ["a", "😀", "😀b"]);
}

#[test]
fn a_half_whose_other_half_does_not_come_is_not_lost() {
    let first = r#"{"delta":{"text":"a\ud83d"}}"#;
    let other = r#"{"delta":{"text":"b"}}"#;
    assert_eq!(texts(&mut chunks(), &[first, other]), ["a", "\u{fffd}", "b"]);
    let end = r#"{"type":"end"}"#;
    assert_eq!(texts(&mut chunks(), &[first, end, other]), ["a", "\u{fffd}", "b"]);
    let alone = r#"{"delta":{"text":"\ude00"}}"#;
    assert_eq!(texts(&mut chunks(), &[alone, other]), ["\u{fffd}", "b"]);
}

#[test]
fn bytes_that_are_no_text_do_not_cost_the_object() {
    let mut halves = chunks();
    let clean = halves.clean(b"{\"a\":\"\xff\"}");
    assert_eq!(
        serde_json::from_slice::<Value>(&clean.object).unwrap(),
        json!({ "a": "\u{fffd}" })
    );
}

/// What may be around an object: no brace, which might begin an object.
fn noise() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("\u{feff}".to_owned()),
        Just("\x1b[?2004h".to_owned()),
        "\\x1b\\]0;[a-z{}\"]{0,8}\\x07",
        "[^\\x1b{}\\[\\]\"\\n\\x00]{0,12}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A text in UTF-16, as JavaScript writes it when it cuts it anywhere.
fn cut_chunks(text: &str, cuts: &[usize]) -> Vec<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (units.len() + 1)).collect();
    bounds.extend([0, units.len()]);
    bounds.sort_unstable();
    let escaped = |range: &[usize]| {
        let units = units[range[0]..range[1]].iter();
        let escapes: String = units.map(|unit| format!("\\u{unit:04x}")).collect();
        format!(r#"{{"delta":{{"text":"{escapes}"}}}}"#)
    };
    bounds.windows(2).map(escaped).collect()
}

proptest! {
    #[test]
    fn objects_are_found_in_any_noise(members in prop::collection::vec(value(), 1..4), noise in prop::collection::vec(noise(), 5)) {
        let objects: Vec<Value> = members.into_iter().map(|member| json!({ "member": member })).collect();
        let mut line = String::new();
        for (object, noise) in objects.iter().zip(&noise) {
            line += noise;
            line += &object.to_string();
        }
        line += &noise[objects.len()];
        let parts = json_parts(line.as_bytes());
        let found: Vec<Value> = parts.iter().filter_map(|part| match part {
            JsonPart::Object(object) => Some(serde_json::from_slice(object).unwrap()),
            JsonPart::Text(_) => None,
        }).collect();
        prop_assert_eq!(found, objects);
    }

    #[test]
    fn any_bytes_will_do(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut halves = chunks();
        for part in json_parts(&line) {
            if let JsonPart::Object(object) = part {
                let _clean = halves.clean(object);
            }
        }
    }

    #[test]
    fn repaired_json_can_be_read_and_clean_json_stays(units in prop::collection::vec(any::<u16>(), 0..20), clean in ".*") {
        let escapes: String = units.iter().map(|unit| format!("\\u{unit:04X}")).collect();
        let read: String = serde_json::from_str(&repair_json(&format!("\"{escapes}\""))).unwrap();
        prop_assert_eq!(read, String::from_utf16_lossy(&units));
        let clean = Value::from(clean).to_string();
        prop_assert_eq!(repair_json(&clean), &*clean);
    }

    #[test]
    fn chunks_make_the_text_wherever_it_was_cut(text in "[a🙂é𝄞]{0,12}", cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let objects = cut_chunks(&text, &cuts);
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        prop_assert_eq!(texts(&mut chunks(), &objects).concat(), text);
    }
}
