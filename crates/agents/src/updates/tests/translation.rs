//! The lines of the view, for every point at which reading can start.

use agent_client_protocol_schema::v1::SessionUpdate;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::journal::{Journal, counting, journal};
use crate::updates::{Line, Translation, replay_start};
use promptd_model::{RecordKind, Stream};

fn value(line: &Line) -> Value {
    serde_json::from_slice(&line.text).unwrap()
}

/// Each line in short: an update, or a record's type.
fn summary(lines: &[Line]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| {
            let value = value(line);
            assert_eq!(value["seq"], json!(line.seq));
            let update = &value["update"];
            match (&update["content"]["text"], update.is_null()) {
                (_, true) => value["type"].clone(),
                (Value::String(text), _) => json!([update["sessionUpdate"], text]),
                (_, false) => update.clone(),
            }
        })
        .collect()
}

fn raw(stream: &str, line: &str) -> Value {
    json!({ "sessionUpdate": "_raw", "stream": stream, "line": line })
}

/// A raw line without a newline.
fn open_raw(stream: &str, line: &str) -> Value {
    json!({ "sessionUpdate": "_raw", "stream": stream, "line": line, "eol": false })
}

#[test]
fn line_with_a_rounded_number_is_passed_on_too() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"a18446744073709551615", true);
    journal.stdout(b"b18446744073709551616", true).exited(1).ended(1);
    let message = |text: &str| json!(["agent_message_chunk", text]);
    let lines = summary(&journal.all());
    assert_eq!(
        lines.get(2..5).unwrap(),
        [
            message("1:a18446744073709551615"),
            message("2:b18446744073709551616"),
            raw("stdout", "b18446744073709551616"),
        ]
    );
}

#[test]
fn agent_lines_become_updates() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"hel", false).stdout(b"lo", true);
    journal.stdout(b"{}", true).stdout(b"-", true).stdout(b"+x", true);
    journal.output(1, Stream::Stderr, b"oh", true, false);
    journal.exited(1).ended(1);
    let lines = journal.all();
    let message = |text: &str| json!(["agent_message_chunk", text]);
    assert_eq!(
        summary(&lines),
        [
            json!(["user_message_chunk", "do it"]),
            json!("started"),
            message("1:hello"),
            raw("stdout", "{}"),
            message("4:+x"),
            message("4:+x"),
            raw("stderr", "oh"),
            json!("exited"),
            json!("turn_ended"),
        ]
    );
    let hello = r#"{"seq":4,"time":"2026-11-21T02:40:00.123456Z","turn":1,"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"1:hello"}}}"#;
    assert_eq!(lines[2].text, hello);
    assert_eq!(lines[1].text, journal.0[1], "a record stays as it is");
    let twins: Vec<_> = lines[4..6]
        .iter()
        .map(|line| (line.seq, value(line)["index"].as_u64(), line.last))
        .collect();
    assert_eq!(twins, [(7, Some(0), false), (7, Some(1), true)]);
    assert!(value(&lines[2])["index"].is_null());
    let head = lines[2].head().unwrap();
    assert_eq!((head.seq, head.turn, head.kind), (4, 1, RecordKind::Other("update")));
    assert_eq!(lines[1].head().unwrap().kind, RecordKind::Other("started"));
}

/// Begins and ends calls as its lines say: `begin a`, `end a`.
#[derive(Clone)]
struct Calls;

impl crate::Translator for Calls {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<crate::Update>> {
        let line = std::str::from_utf8(line).ok()?;
        let update = match line.split_once(' ')? {
            ("begin", id) => json!({ "sessionUpdate": "tool_call", "toolCallId": id, "title": "ls" }),
            (_, id) => json!({ "sessionUpdate": "tool_call_update", "toolCallId": id, "status": "completed" }),
        };
        let update: SessionUpdate = serde_json::from_value(update).unwrap();
        Some(vec![update.into()])
    }
}

#[test]
fn open_calls_end_with_a_turn_that_did_not_complete() {
    let lines = [&b"begin a"[..], b"begin b", b"end a", b"begin c"];
    for (kind, fields, expected) in [
        ("turn_ended", ",\"status\":\"cancelled\"", &["b", "c"][..]),
        ("turn_ended", ",\"status\":\"failed\"", &["b", "c"]),
        (
            "retry",
            ",\"attempt\":2,\"delay\":1,\"cause\":\"agent_error\"",
            &["b", "c"],
        ),
        ("turn_ended", ",\"status\":\"completed\"", &[]),
    ] {
        let mut journal = Journal::default();
        journal.prompt(1).started(1);
        for line in lines {
            journal.stdout(line, true);
        }
        journal.exited(1).put(1, kind, fields);
        let all = journal.after(Some(Box::new(Calls)), 0, journal.0.len());
        let failed = all
            .iter()
            .map(value)
            .filter(|line| line["update"]["status"] == "failed");
        let failed: Vec<_> = failed.map(|line| line["update"]["toolCallId"].clone()).collect();
        assert_eq!(failed, expected, "{kind} {fields}");
        // They come before the record, and for a reader that starts behind the calls, too.
        assert_eq!(value(all.last().unwrap())["type"], kind);
        let late = journal.after(Some(Box::new(Calls)), 6, journal.0.len());
        let late = late
            .iter()
            .filter(|line| value(line)["update"]["status"] == "failed")
            .count();
        assert_eq!(late, expected.len());
    }
}

#[test]
fn unfinished_lines_come_before_the_exit() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"last words", false);
    journal.output(1, Stream::Stderr, b"why", false, false).exited(1);
    // A process that outlived its launcher.
    journal.stdout(b"more", false).ended(1);
    let lines = journal.all();
    let seqs: Vec<_> = lines.iter().map(|line| (line.seq, line.last)).collect();
    assert_eq!(
        seqs,
        [
            (1, true),
            (2, true),
            (5, false),
            (5, false),
            (5, true),
            (7, false),
            (7, true)
        ]
    );
    assert_eq!(
        summary(&lines)[2..],
        [
            json!(["agent_message_chunk", "1:last words"]),
            open_raw("stderr", "why"),
            json!("exited"),
            json!(["agent_message_chunk", "2:more"]),
            json!("turn_ended"),
        ]
    );
}

#[test]
fn setup_and_late_output_is_raw() {
    let mut journal = Journal::default();
    journal.prompt(1).setup(1).stdout(b"clo", false).stdout(b"ned", true);
    journal.stdout(b"half", false).started(1).stdout(b"word", true);
    journal.exited(1).ended(1);
    journal.output(1, Stream::Stdout, b"late", false, true);
    journal.output(1, Stream::Stdout, b"r", true, true);
    assert_eq!(
        summary(&journal.all())[2..],
        [
            raw("stdout", "cloned"),
            open_raw("stdout", "half"),
            json!("started"),
            json!(["agent_message_chunk", "1:word"]),
            json!("exited"),
            json!("turn_ended"),
            open_raw("stdout", "late"),
            raw("stdout", "r"),
        ]
    );
}

#[test]
fn each_attempt_has_a_new_translator() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"one", true).exited(1);
    journal.put(1, "retry", ",\"attempt\":2,\"delay\":0.0,\"cause\":\"agent_error\"");
    journal.started(1).stdout(b"one", true);
    let lines = summary(&journal.all());
    assert_eq!(lines[2], lines[6]);
}

#[test]
fn without_a_translator_output_is_the_answer() {
    let mut journal = Journal::default();
    journal
        .prompt(1)
        .started(1)
        .stdout(b"no ", false)
        .stdout("w\u{e4}it".as_bytes(), true);
    journal
        .stdout(b"\xc3", false)
        .stdout(b"\xa4", true)
        .stdout(b"\xff\x00", true);
    journal.stdout(b"\xc3", false).exited(1);
    let lines = summary(&journal.after(None, 0, 0));
    let message = |text: &str| json!(["agent_message_chunk", text]);
    assert_eq!(
        lines[2..],
        [
            message("no "),
            message("w\u{e4}it\n"),
            message("\u{e4}\n"),
            json!({ "sessionUpdate": "_raw", "stream": "stdout", "base64": "/wA=" }),
            json!({ "sessionUpdate": "_raw", "stream": "stdout", "base64": "ww==", "eol": false }),
            json!("exited"),
        ]
    );
}

#[test]
fn a_gap_ends_the_line_before_it() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"cut", false);
    journal.put(
        1,
        "gap",
        ",\"stream\":\"stdout\",\"bytes\":5,\"reason\":\"truncated\",\"to\":8",
    );
    journal.stdout(b"on", true);
    let on = json!(["agent_message_chunk", "2:on"]);
    assert_eq!(
        summary(&journal.all())[2..],
        [json!(["agent_message_chunk", "1:cut"]), json!("gap"), on]
    );
}

#[test]
fn damaged_records_stay_as_they_are() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).put(1, "stdout", ",\"to\":3,\"data\":17");
    journal.0.push("no record".to_owned());
    let mut translation = Translation::new(Some(counting()), 0);
    let lines = translation.push_bytes(&journal.text());
    assert_eq!(lines[2].text, journal.0[2]);
    assert_eq!((&lines[3].text[..], lines[3].head()), (&b"no record"[..], None));
}

/// Images are in the record behind the text, and no update has them.
#[test]
fn images_of_a_prompt_cost_a_reader_nothing() {
    for (kind, text) in [
        ("prompt", "look"),
        ("steer", "look"),
        ("prompt", &*"long ".repeat(1_000)),
    ] {
        let image = json!([{ "type": "image", "mimeType": "image/png", "data": "iVBO".repeat(50_000) }]);
        let mut journal = Journal::default();
        journal.put(
            1,
            kind,
            &format!(",\"text\":{},\"blocks\":{image},\"fresh\":true", json!(text)),
        );
        journal.started(1);
        let bytes = journal.text();
        let whole = journal.all();
        let said: String = whole[..whole.len() - 1]
            .iter()
            .map(|line| serde_json::from_slice::<Value>(&line.text).unwrap())
            .map(|part| part["update"]["content"]["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(said, text, "{kind}");
        let mut translation = Translation::new(Some(counting()), 0);
        let (mut lines, mut most) = (Vec::new(), 0);
        for piece in bytes.chunks(500) {
            lines.extend(translation.push_bytes(piece));
            most = most.max(translation.buffered_bytes());
        }
        assert_eq!(lines, whole, "{kind}");
        assert!(most < 2_048, "{kind}: {most} bytes were held");
    }
}

#[test]
fn a_long_prompt_comes_in_parts_and_nobody_holds_all_of_it() {
    let prompt = "long \"pr\u{f6}mpt\"\n".repeat(2_000);
    let mut journal = Journal::default();
    journal.put(
        1,
        "prompt",
        &format!(",\"text\":{},\"idempotency_key\":\"k\"", json!(prompt)),
    );
    journal.started(1);
    let text = journal.text();
    let whole = journal.all();
    let parts: Vec<Value> = whole[..whole.len() - 1]
        .iter()
        .map(|line| serde_json::from_slice(&line.text).unwrap())
        .collect();
    let joined: String = parts
        .iter()
        .map(|part| part["update"]["content"]["text"].as_str().unwrap())
        .collect();
    assert!(parts.len() > 20 && joined == prompt);
    assert!(
        parts
            .iter()
            .enumerate()
            .all(|(index, part)| part["index"] == index && part["seq"] == 1)
    );
    assert_eq!(whole.iter().filter(|line| line.seq == 1 && line.last).count(), 1);
    for size in [1, 700, 1_024, 5_000, usize::MAX] {
        let mut translation = Translation::new(Some(counting()), 0);
        let (mut lines, mut most) = (Vec::new(), 0);
        for piece in text.chunks(size.min(text.len())) {
            lines.extend(translation.push_bytes(piece));
            most = most.max(translation.buffered_bytes());
        }
        assert_eq!(lines, whole, "pieces of {size}");
        assert!(most < 2_048, "{most} bytes were held with pieces of {size}");
    }
    assert_eq!(
        journal.after(Some(counting()), 1, 2).len(),
        1,
        "before the cursor it gives nothing"
    );
}

#[test]
fn nothing_is_buffered_after_the_end_of_a_turn() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"open", false);
    let mut translation = Translation::new(Some(counting()), 0);
    translation.push_bytes(&journal.text());
    assert_eq!(translation.buffered_bytes(), 4);
    journal.ended(1);
    translation.push_bytes(format!("{}\n", journal.0[3]).as_bytes());
    assert_eq!(translation.buffered_bytes(), 0);
    assert_eq!(replay_start(&journal.state(4), 4), 4);
    // A reader that knows fewer records starts earlier.
    assert_eq!(replay_start(&journal.state(3), 4), 1);
    assert_eq!(replay_start(&journal.state(4), 1), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn reading_from_any_record_gives_the_same_lines(journal in journal(), translated: bool, lag in 0_usize..9) {
        let translator = || translated.then(counting);
        let count = journal.0.len();
        let all = journal.after(translator(), 0, count);
        for after in 0..=count {
            let wanted: Vec<&Line> = all.iter().filter(|line| line.seq > u64::try_from(after).unwrap()).collect();
            for known in [count, after, after.saturating_sub(lag)] {
                let found = journal.after(translator(), after, known);
                prop_assert_eq!(found.iter().collect::<Vec<_>>(), wanted.clone(), "after {} known {}", after, known);
            }
        }
        // `last` is the last line of its record.
        for pair in all.windows(2) {
            prop_assert_eq!(pair[0].last, pair[0].seq != pair[1].seq);
        }
    }

    #[test]
    fn a_clone_continues_where_it_was_made(journal in journal(), at: proptest::sample::Index) {
        let at = at.index(journal.0.len());
        let mut translation = Translation::new(Some(counting()), 0);
        let mut lines = Vec::new();
        for line in &journal.0[..at] {
            translation.push_line(line.as_bytes(), &mut lines);
        }
        let mut again = (translation.clone(), Vec::new());
        let mut first = Vec::new();
        for line in &journal.0[at..] {
            translation.push_line(line.as_bytes(), &mut first);
        }
        for line in &journal.0[at..] {
            again.0.push_line(line.as_bytes(), &mut again.1);
        }
        prop_assert_eq!(first, again.1);
    }

    #[test]
    fn chunk_borders_make_no_difference(journal in journal(), sizes in proptest::collection::vec(1_usize..300, 1..6)) {
        let (text, mut lines) = (journal.text(), Vec::new());
        let mut translation = Translation::new(Some(counting()), 0);
        let mut rest = &text[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            lines.extend(translation.push_bytes(piece));
            rest = behind;
        }
        prop_assert_eq!(lines, journal.all());
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        Translation::new(Some(counting()), 0).push_bytes(&bytes);
    }
}

/// A turn with an image is a dialog, and its agent writes another format then.
#[test]
fn an_attempt_is_read_in_the_format_that_it_names() {
    let mut journal = Journal::default();
    let delta =
        br#"{"method":"item/agentMessage/delta","params":{"delta":"hi","itemId":"1","threadId":"t","turnId":"u"}}"#;
    let process = r#","pid":7,"program":"/bin/a","attempt":1,"start_ticks":1,"boot_id":"b""#;
    let format = format!(r#"{process},"format":"codex-app-server""#);
    journal.put(1, "started", &format).stdout(delta, true);
    journal.exited(1).ended(1).started(2).stdout(delta, true);
    let lines = summary(&journal.all());
    assert_eq!(lines[1], json!(["agent_message_chunk", "hi"]));
    assert_eq!(lines.last().unwrap()["sessionUpdate"], "_raw");
}
