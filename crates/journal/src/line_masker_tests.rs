//! Tests of [`super`].

use super::*;
use promptd_mask::Secrets;
use promptd_model::Chunk;
use promptd_model::{Body, Output, Prompt, TurnEnded};
use promptd_model::{decode, decode_output, encode, encode_output};
use proptest::prelude::*;

const TIME: &str = "2026-11-21T02:40:00.123456Z";
const SECRET: &str = "abcabd";

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

fn show(masker: &Arc<Masker>, text: &[u8], lines_per_piece: usize) -> Vec<u8> {
    let mut lines = LineMasker::new(Arc::clone(masker));
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
fn joined(shown: &[u8], turn: u32) -> Vec<u8> {
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
        fresh: false,
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

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
