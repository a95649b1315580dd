//! Tests of [`super`].

use super::*;
use promptd_mask::Secrets;
use promptd_model::Chunk;
use promptd_model::{Body, Output, Prompt, TurnEnded};
use promptd_model::{decode, decode_output, encode, encode_output};
use proptest::prelude::*;

const TIME: &str = "2026-11-21T02:40:00.123456Z";
pub(super) const SECRET: &str = "abcabd";

pub(crate) fn masker(values: &[&str]) -> Arc<Masker> {
    let mut secrets = Secrets::default();
    for value in values {
        secrets.add(value);
    }
    Arc::new(Masker::new(&secrets).unwrap())
}

/// The text of a journal.
#[derive(Default)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    seq: u64,
    to: u64,
}

impl Text {
    pub(crate) fn output(&mut self, turn: u32, stream: Stream, bytes: &[u8], eol: bool) {
        self.seq += 1;
        self.to += len64(bytes);
        let chunk = Chunk { bytes, eol };
        encode_output(&mut self.bytes, self.seq, TIME, turn, stream, &chunk, self.to, false);
    }

    pub(crate) fn other(&mut self, body: &Body) {
        self.seq += 1;
        encode(&mut self.bytes, self.seq, TIME, 1, body).unwrap();
    }
}

pub(super) fn show(masker: &Arc<Masker>, text: &[u8], lines_per_piece: usize) -> Vec<u8> {
    show_within(64 << 10, masker, text, lines_per_piece)
}

pub(super) fn show_within(window: u64, masker: &Arc<Masker>, text: &[u8], lines_per_piece: usize) -> Vec<u8> {
    let mut lines = LineMasker::new(Arc::clone(masker));
    lines.window = window;
    let (mut shown, mut at) = (Vec::new(), 0);
    let all: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for piece in all.chunks(lines_per_piece) {
        let piece = piece.concat();
        shown.extend_from_slice(&lines.mask(Bytes::copy_from_slice(&piece), at));
        at += len64(&piece);
    }
    shown
}

/// The joined stdout of a turn.
pub(super) fn joined(shown: &[u8], turn: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in whole_lines(shown) {
        let record = decode(line).unwrap();
        if let (Body::Stdout(output), true) = (record.body, record.turn == turn) {
            assert!(decode_output(&output, &mut bytes));
        }
    }
    bytes
}

#[test]
fn lines_without_secrets_are_not_copied() {
    let mut text = Text::default();
    text.output(1, Stream::Stdout, b"hello \"world\"", true);
    text.output(1, Stream::Stderr, b"half", false);
    text.output(1, Stream::Stdout, b"\xff", true);
    let bytes = Bytes::from(text.bytes);
    let shown = LineMasker::new(masker(&[SECRET])).mask(bytes.clone(), 0);
    assert_eq!(shown.as_ptr(), bytes.as_ptr());
}

#[test]
fn all_records_are_masked_but_not_format_words() {
    let mut text = Text::default();
    text.other(&Body::Prompt(Prompt {
        text: "use \"completed\"\nor s3\"cret".into(),
        idempotency_key: Some("k-completed".into()),
        ..Prompt::default()
    }));
    text.output(1, Stream::Stdout, b"{\"key\":\"s3\\\"cret\"}", true);
    text.output(1, Stream::Stderr, b"\xff s3\"cret", true);
    text.other(&Body::Stdin(Output {
        to: 4,
        eol: true,
        data: Some("s3\"cret".into()),
        ..Output::default()
    }));
    text.other(&Body::TurnEnded(TurnEnded {
        status: promptd_model::Status::Completed,
        cause: None,
        reset_at: None,
        stop_reason: None,
        result: Some("it is completed".into()),
        error: None,
        usage: None,
        agent_session_id: None,
    }));
    let masker = masker(&["completed", "s3\"cret"]);
    let shown = show(&masker, &text.bytes, 99);
    let records: Vec<serde_json::Value> = whole_lines(&shown)
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(records[0]["text"], "use \"***\"\nor ***");
    assert_eq!(records[0]["idempotency_key"], "k-***");
    assert_eq!(records[1]["data"], "{\"key\":\"***\"}");
    assert_eq!(records[2]["base64"], BASE64.encode(b"\xff ***"));
    assert_eq!(records[3]["data"], "***");
    assert_eq!(
        (&records[4]["status"], &records[4]["result"]),
        (&"completed".into(), &"it is ***".into())
    );
    for (shown, exact) in whole_lines(&shown).zip(whole_lines(&text.bytes)) {
        assert_eq!(parse_head(shown), parse_head(exact), "heads stay exact");
    }
}

#[test]
fn secret_is_found_across_the_chunks_of_a_line() {
    let mut text = Text::default();
    text.output(1, Stream::Stdout, b"x abca", false);
    text.output(1, Stream::Stderr, b"abd", true);
    text.output(2, Stream::Stdout, b"bd", false);
    text.output(1, Stream::Stdout, b"bd y", true);
    text.output(1, Stream::Stdout, b"bd z", true);
    let shown = show(&masker(&[SECRET]), &text.bytes, 2);
    assert_eq!(joined(&shown, 1), b"x *** y\nbd z\n");
    assert_eq!(joined(&shown, 2), b"bd");
}

#[test]
fn damaged_lines_are_masked() {
    let shown = show(&masker(&[SECRET]), b"garbage abcabd\n{\"seq\":1,\"abcabd\n", 9);
    assert_eq!(shown, b"garbage ***\n{\"seq\":1,\"***\n");
}

#[test]
fn chunk_may_end_within_a_character() {
    let secret = "pässwörd";
    for cut in 1..secret.len() {
        let (one, two) = secret.as_bytes().split_at(cut);
        let mut text = Text::default();
        text.output(1, Stream::Stdout, one, false);
        text.output(1, Stream::Stdout, two, true);
        let shown = joined(&show(&masker(&[secret]), &text.bytes, 9), 1);
        let visible = if cut < 4 { cut } else { 0 };
        assert_eq!(shown, [&one[..visible], b"***\n"].concat(), "cut at {cut}");
    }
}

/// Lines of agents that have a part of a text: `@` is the part, and `@@` is a part of JSON.
const PARTS: [&str; 9] = [
    r#"{"type":"stream_event","event":{"delta":{"text":"@","type":"text_delta"},"index":0,"type":"content_block_delta"},"parent_tool_use_id":null,"uuid":"~-1"}"#,
    r#"{"type":"stream_event","event":{"delta":{"partial_json":"@@","type":"input_json_delta"},"index":1,"type":"content_block_delta"},"uuid":"~-2"}"#,
    r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"@"}}}}"#,
    r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":{"content":{"text":"@","type":"text"},"sessionUpdate":"agent_thought_chunk"}}}"#,
    r#"{"method":"item/agentMessage/delta","params":{"threadId":"t","itemId":"m","delta":"@"},"emittedAtMs":~}"#,
    r#"{"type":"message","role":"assistant","content":"@","delta":true,"timestamp":"~"}"#,
    r#"{"type":"assistant.message_delta","data":{"messageId":"m","deltaContent":"@"},"id":"~","timestamp":"~"}"#,
    r#"{"type":"message_update","assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"@"}}"#,
    r#"{"type":"token","text":"@"}"#,
];

/// A secret with two UTF-16 halves, and the words around it, which have none of its characters.
const STREAMED: &str = "s3cr/t-v😀l\"9";
const WORDS: &str = "[a-b ,.é\n]{0,9}";

/// A part as JSON, with escapes where `escapes` says so.
fn encoded(units: &[u16], escapes: &[bool]) -> String {
    let mut text = String::new();
    let mut escapes = escapes.iter().cycle();
    for letter in char::decode_utf16(units.iter().copied()) {
        match letter {
            Ok(letter) if escapes.next() == Some(&true) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04X}"));
                }
            }
            Ok(letter) => {
                let quoted = serde_json::to_string(&letter).unwrap();
                text.push_str(quoted.get(1..quoted.len() - 1).unwrap());
            }
            Err(half) => text.push_str(&format!("\\u{:04x}", half.unpaired_surrogate())),
        }
    }
    text
}

/// The texts of the lines of one kind, joined.
pub(super) fn streamed(shown: &[u8], line: &str) -> String {
    let (before, _) = line.split_once('@').unwrap();
    let before = before.rsplit_once('"').unwrap().0;
    let mut all = String::new();
    for shown in String::from_utf8(joined(shown, 1)).unwrap().lines() {
        let _valid: serde_json::Value = serde_json::from_str(shown).unwrap();
        if let Some(rest) = shown.strip_prefix(before) {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            all.push_str(&values.next().unwrap().unwrap());
        }
    }
    all
}

#[test]
fn secret_in_parts_of_a_message_is_hidden() {
    for line in PARTS {
        let mut text = Text::default();
        for part in ["the key is corr", "ect horse bat", "tery", " staple", ", he said"] {
            text.output(
                1,
                Stream::Stdout,
                line.replace("@@", "@").replace('@', part).replace('~', "7").as_bytes(),
                true,
            );
        }
        let masker = masker(&["correct horse battery staple"]);
        let shown = show(&masker, &text.bytes, 2);
        assert_eq!(streamed(&shown, line), "the key is ***, he said", "{line}");
        let whole = text.bytes.split_inclusive(|byte| *byte == b'\n');
        assert_eq!(whole.count(), whole_lines(&shown).count());
    }
}

#[test]
fn start_of_a_secret_is_hidden_only_at_the_end_of_a_part() {
    let mut text = Text::default();
    for part in ["that is correct", " and a horse, correct?", "the cor", "ner"] {
        text.output(1, Stream::Stdout, PARTS[2].replace('@', part).as_bytes(), true);
    }
    let whole = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"that is correct"}]}}"#;
    text.output(1, Stream::Stdout, whole.as_bytes(), true);
    let shown = show(&masker(&["correct horse battery staple"]), &text.bytes, 9);
    assert_eq!(
        streamed(&shown, PARTS[2]),
        "that is *** and a horse, correct?the corner"
    );
    assert!(joined(&shown, 1).ends_with(format!("{whole}\n").as_bytes()));
}

#[test]
fn parts_of_other_messages_do_not_belong_together() {
    let mut text = Text::default();
    for (line, part) in [
        (2, "the cor"),
        (3, "cor"),
        (3, "rect"),
        (2, "rect one"),
        (6, "cor"),
        (6, "rect"),
    ] {
        text.output(1, Stream::Stdout, PARTS[line].replace('@', part).as_bytes(), true);
    }
    let shown = show(&masker(&["correct"]), &text.bytes, 9);
    let all = [2, 3, 6].map(|line| streamed(&shown, PARTS[line]));
    assert_eq!(all, ["the cor*** one", "cor***", "cor***"]);
    // Each message has its own.
    let mut text = Text::default();
    for (id, part) in [("m", "cor"), ("n", "rect")] {
        text.output(
            1,
            Stream::Stdout,
            PARTS[6]
                .replace('@', part)
                .replace("\"m\"", &format!("{id:?}"))
                .as_bytes(),
            true,
        );
    }
    let bytes = Bytes::from(text.bytes);
    assert_eq!(LineMasker::new(masker(&["correct"])).mask(bytes.clone(), 0), bytes);
}

#[test]
fn secret_that_is_json_is_hidden_in_every_output() {
    let secret = r#"{"type":"service_account","private_key":"-----BEGIN KEY-----\nMIIEvQIBADAN/x+y\n-----END KEY-----\n","id":4711}"#;
    let value: serde_json::Value = serde_json::from_str(secret).unwrap();
    let result = serde_json::json!({ "type": "tool_result", "content": secret, "input": { "env": value } });
    let mut text = Text::default();
    for printed in [
        secret.to_owned(),
        format!("GOOGLE_CREDENTIALS={secret}"),
        format!(r#"{{"env":{secret},"b":"c"}}"#),
        result.to_string(),
        serde_json::to_string_pretty(&value).unwrap(),
        value["private_key"].as_str().unwrap().to_owned(),
    ] {
        for line in printed.lines() {
            text.output(1, Stream::Stdout, line.as_bytes(), true);
        }
    }
    let shown = String::from_utf8(joined(&show(&masker(&[secret]), &text.bytes, 2), 1)).unwrap();
    assert!(
        shown.starts_with("***\nGOOGLE_CREDENTIALS=***\n{\"env\":\"***\",\"b\":\"c\"}\n"),
        "{shown}"
    );
    assert!(!shown.contains("MIIEvQIBADAN") && !shown.contains("x+y"), "{shown}");
}

#[test]
fn words_of_the_format_stay() {
    let line = r#"{"type":"stream_event","event":{"content_block":{"text":"a content_block","type":"text"},"type":"content_block_start"},"n":471147,"k471147":"471147"}"#;
    let mut text = Text::default();
    text.output(1, Stream::Stdout, line.as_bytes(), true);
    let shown = show(&masker(&["content_block", "stream_event", "471147"]), &text.bytes, 9);
    let expected = line
        .replace("a content_block", "a ***")
        .replace("\"k471147\":\"471147\"", "\"k***\":\"***\"");
    assert_eq!(String::from_utf8(joined(&shown, 1)).unwrap(), format!("{expected}\n"));
}

#[test]
fn base64_that_is_wrapped_is_hidden_at_every_offset() {
    let secret = "sk-4711-abcdefghijklmnop";
    for offset in 0..120 {
        let whole = format!("{}{secret}{}", "x".repeat(offset), "y".repeat(60));
        let encoded = BASE64.encode(&whole);
        let lines: Vec<&str> = encoded
            .as_bytes()
            .chunks(76)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        let mut text = Text::default();
        for line in &lines {
            text.output(1, Stream::Stdout, line.as_bytes(), true);
        }
        let json = serde_json::to_string(&serde_json::json!({ "output": lines.join("\n") })).unwrap();
        text.output(1, Stream::Stdout, json.as_bytes(), true);
        let shown = String::from_utf8(joined(&show(&masker(&[secret]), &text.bytes, 3), 1)).unwrap();
        // Three characters of four bytes each are enough to mean it.
        let flat = shown.replace("\\n", "").replace('\n', "");
        let inner = |skipped: usize| BASE64.encode(secret.get(skipped..skipped + 18).unwrap());
        for form in (0..6).map(inner) {
            for part in form.as_bytes().windows(8) {
                assert!(
                    memchr::memmem::find(flat.as_bytes(), part).is_none(),
                    "offset {offset}: {shown}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_parts_and_no_spelling_show_a_secret(
        words in proptest::collection::vec(WORDS, 1..4),
        sizes in proptest::collection::vec(1_usize..9, 1..6),
        escapes in proptest::collection::vec(any::<bool>(), 1..7),
        line in 0..PARTS.len(),
        others in proptest::collection::vec(0..PARTS.len(), 0..4),
        per_piece in 1_usize..5,
    ) {
        let units: Vec<u16> = words.join(STREAMED).encode_utf16().collect();
        let (mut text, mut rest, mut number) = (Text::default(), &units[..], 0);
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (part, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = behind;
            number += 1;
            let part = encoded(part, &escapes);
            let in_json = part.replace('\\', "\\\\").replace('"', "\\\"");
            let written = PARTS[line].replace("@@", &in_json).replace('@', &part).replace('~', &number.to_string());
            text.output(1, Stream::Stdout, written.as_bytes(), true);
            for other in others.iter().filter(|other| **other != line) {
                text.output(1, Stream::Stdout, PARTS[*other].replace("@@", "@").replace('@', "a").replace('~', "7").as_bytes(), true);
            }
        }
        let masker = masker(&[STREAMED]);
        let shown = show(&masker, &text.bytes, usize::MAX);
        prop_assert_eq!(&shown, &show(&masker, &text.bytes, per_piece));
        let mut said = streamed(&shown, PARTS[line]);
        if PARTS[line].contains("@@") {
            said = serde_json::from_str(&format!("\"{said}\"")).unwrap();
        }
        for shown in STREAMED.chars().skip(3) {
            prop_assert!(!said.contains(shown), "{}", said);
        }
        if words.len() == 1 {
            prop_assert_eq!(shown, text.bytes);
        }
    }

    #[test]
    fn no_split_shows_a_secret(
        words in proptest::collection::vec("[a-d \"\\\\é\n]{0,9}", 1..6),
        sizes in proptest::collection::vec(1_usize..14, 1..6),
        per_piece in 1_usize..5,
    ) {
        let whole = words.join(SECRET);
        let (mut text, mut rest, mut turn) = (Text::default(), whole.as_bytes(), 0);
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, behind) = rest.split_at((*size).min(rest.len()));
            let newline = memchr::memchr(b'\n', chunk);
            let (chunk, behind) = newline.map_or((chunk, behind), |at| (&chunk[..at], &rest[at + 1..]));
            text.output(1, Stream::Stdout, chunk, newline.is_some());
            turn += 1;
            text.output(2 + turn % 2, Stream::Stdout, b"cab", turn % 3 == 0);
            rest = behind;
        }
        let masker = masker(&[SECRET]);
        let shown = show(&masker, &text.bytes, usize::MAX);
        prop_assert!(memchr::memmem::find(&joined(&shown, 1), SECRET.as_bytes()).is_none());
        prop_assert_eq!(&shown, &show(&masker, &text.bytes, per_piece));
        for (shown, exact) in whole_lines(&shown).zip(whole_lines(&text.bytes)) {
            prop_assert_eq!(parse_head(shown), parse_head(exact));
            prop_assert!(decode(shown).is_some());
        }
    }

    #[test]
    fn garbage_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..200, byte: u8) {
        let masker = masker(&[SECRET]);
        show(&masker, &bytes, 1);
        let mut text = Text::default();
        text.output(1, Stream::Stdout, b"x abcab", false);
        text.output(1, Stream::Stdout, b"\xffd y", true);
        let at = at % text.bytes.len();
        text.bytes[at] = byte;
        show(&masker, &text.bytes, 1);
    }
}
