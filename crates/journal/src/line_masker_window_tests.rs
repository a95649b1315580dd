//! Tests of [`super`]: what a record may continue.

use super::tests::{SECRET, Text, joined, masker, show, show_within, streamed};
use super::*;
use crate::unfinished::MAX_TEXTS;
use proptest::prelude::*;

#[test]
fn text_that_is_written_again_and_grows_is_complete() {
    // The whole text so far, in each line.
    let line =
        r#"{"type":"tool_execution_update","toolCallId":"c","partialResult":{"content":[{"type":"text","text":"@"}]}}"#;
    let mut text = Text::default();
    for whole in ["$ env", r"$ env\nTO", r"$ env\nTOKEN-4711", r"$ env\nTOKEN-4711\nmore"] {
        text.output(1, Stream::Stdout, line.replace('@', whole).as_bytes(), true);
    }
    let masker = masker(&["TOKEN-4711"]);
    let shown = show(&masker, &text.bytes, 9);
    assert_eq!(streamed(&shown, line), "$ env$ env\nTO$ env\n***$ env\n***\nmore");
    let mut text = Text::default();
    for whole in ["TOKEN", "TOKEN-4711", r"TOKEN-4711\nmore", "TOKEN-4711"] {
        text.output(1, Stream::Stdout, line.replace('@', whole).as_bytes(), true);
    }
    let shown = show(&masker, &text.bytes, 2);
    // After `TOKEN` this may be the rest of it, or the text again.
    assert_eq!(streamed(&shown, line), "*********\nmore***");
}

#[test]
fn line_that_begins_thousands_of_texts_costs_little() {
    let members: Vec<String> = (0..5_000)
        .map(|number| format!(r#""{number}":"abc{number}""#))
        .collect();
    let line = format!(r#"{{"delta":{{{}}}}}"#, members.join(","));
    let mut text = Text::default();
    for _ in 0..2 {
        text.output(1, Stream::Stdout, line.as_bytes(), true);
        text.output(1, Stream::Stderr, b"abca", false);
    }
    let mut lines = LineMasker::new(masker(&[SECRET]));
    lines.window = 64 << 20;
    lines.mask(Bytes::from(text.bytes), 0);
    assert!(lines.unfinished.len() <= MAX_TEXTS + 1, "{}", lines.unfinished.len());
}

#[test]
fn blocks_do_not_change_what_a_line_continues() {
    let mut text = Text::default();
    text.output(1, Stream::Stdout, b"no end", false);
    let begin = text.bytes.len();
    while text.bytes.len() < begin + 600 {
        text.output(1, Stream::Stderr, b"x", true);
    }
    text.output(1, Stream::Stdout, br#"{"type":"471147","n":471147}"#, true);
    let masker = masker(&["471147"]);
    let one = show_within(500, &masker, &text.bytes, usize::MAX);
    assert_eq!(one, show_within(500, &masker, &text.bytes, 1));
    assert_eq!(joined(&one, 1), b"no end{\"type\":\"***\",\"n\":471147}\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_depend_on_no_block_and_no_start(
        records in proptest::collection::vec((0..3_usize, 0..8_usize, any::<bool>()), 1..60),
        per_piece in 1_usize..9,
        window in 100_u64..900,
        start in any::<proptest::sample::Index>(),
    ) {
        const BYTES: [&str; 8] = [
            "abc",
            "abcab",
            "d abcabd",
            r#"{"delta":"abca","n":471147}"#,
            r#"{"delta":"bd","other":["abcabd","abca"]}"#,
            r#"{"a":"b","n":471147}"#,
            "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=YWJjYW",
            "",
        ];
        let streams = [Stream::Stdout, Stream::Stderr];
        let mut text = Text::default();
        for (stream, bytes, eol) in records {
            match streams.get(stream) {
                Some(stream) => text.output(1, *stream, BYTES[bytes].as_bytes(), eol),
                None => text.output(2, Stream::Stdout, BYTES[bytes].as_bytes(), eol),
            }
        }
        let masker = masker(&[SECRET, "471147"]);
        let shown = show_within(window, &masker, &text.bytes, usize::MAX);
        prop_assert_eq!(&shown, &show_within(window, &masker, &text.bytes, per_piece));
        // A reader that starts later first reads what was before.
        let lines: Vec<&[u8]> = text.bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let start = start.index(lines.len());
        let position = len64(&lines[..start].concat());
        let mut late = LineMasker::new(Arc::clone(&masker));
        late.window = window;
        let (mut at, mut all) = (0, Vec::new());
        for (number, line) in lines.iter().enumerate() {
            let end = at + len64(line);
            if end + 4 * window >= position {
                let masked = late.mask(Bytes::copy_from_slice(line), at);
                if number >= start {
                    all.extend_from_slice(&masked);
                }
            }
            at = end;
        }
        prop_assert!(shown.ends_with(&all));
    }
}
