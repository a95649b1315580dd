//! Tests of [`super`].

use proptest::prelude::*;

use super::*;
use crate::kinds::support_tests::{Journal, ended};
use promptd_model::Status;

/// Both texts of some lines.
fn texts_of(lines: &[Line]) -> [String; 2] {
    let mut strings = [String::new(), String::new()];
    let mut tell = |stream: Stream, text: &str| match stream {
        Stream::Stdout => strings[0].push_str(text),
        Stream::Stderr => strings[1].push_str(text),
    };
    let mut texts = StreamTexts::default();
    for line in lines {
        texts.add(line, &mut tell);
    }
    texts.finish(&mut tell);
    strings
}

#[test]
fn character_split_over_two_records_is_joined() {
    let mut journal = Journal::default();
    journal
        .stdout(b"a\xC3", false)
        .stderr(b"warning", true)
        .stdout(b"\xA4b", true);
    assert_eq!(texts_of(&journal.lines), ["aäb\n", "warning\n"]);
}

#[test]
fn incomplete_character_is_held() {
    let mut journal = Journal::default();
    journal.stdout(b"a", true).stdout(b"\xE2\x82", false).stderr(b"x", true);
    assert_eq!(ready(&journal.lines), 1);
    journal.stdout(b"\xAC", false);
    assert_eq!(ready(&journal.lines), 4);
    assert_eq!(texts_of(&journal.lines)[0], "a\n€");
}

#[test]
fn turn_end_releases_held_records() {
    for end in ["exited", "turn_ended", "late", "gap"] {
        let mut journal = Journal::default();
        journal.stdout(b"a\xC3", false);
        assert_eq!(ready(&journal.lines), 0);
        match end {
            "exited" => journal.body(1, &Body::Exited(promptd_model::Exited::default())),
            "turn_ended" => journal.end(1, ended(Status::Lost)),
            "late" => journal.output(1, Stream::Stdout, b"\xC3", false, true),
            _ => journal.raw(0, "gap", ",\"stream\":\"journal\",\"bytes\":9,\"reason\":\"full\""),
        };
        assert_eq!(ready(&journal.lines), 2, "{end}");
        assert!(texts_of(&journal.lines)[0].starts_with("a\u{FFFD}"), "{end}");
    }
}

#[test]
fn idle_stream_does_not_hold_the_other_forever() {
    let mut journal = Journal::default();
    journal.stdout(b"\xC3", false);
    for _ in 0..3 {
        assert_eq!(ready(&journal.lines), 0);
        journal.stderr("x".repeat(50 << 10).as_bytes(), true);
    }
    assert_eq!(ready(&journal.lines), 4);
}

#[test]
fn other_turn_does_not_close_a_character() {
    let mut journal = Journal::default();
    journal.output(2, Stream::Stdout, b"\xC3", false, false);
    journal
        .output(1, Stream::Stdout, b"late", true, true)
        .end(1, ended(Status::Lost));
    assert_eq!(ready(&journal.lines), 0);
    journal.output(2, Stream::Stdout, b"\xA4", false, false);
    assert_eq!(texts_of(&journal.lines)[0], "late\nä");
}

#[test]
fn gap_becomes_a_line_of_text() {
    let mut journal = Journal::default();
    journal.stdout(b"a", true);
    journal.raw(1, "gap", ",\"stream\":\"stderr\",\"bytes\":1,\"reason\":\"cut\"");
    journal.raw(
        1,
        "gap",
        ",\"stream\":\"stdout\",\"bytes\":17,\"reason\":\"cut\",\"to\":19",
    );
    journal.raw(0, "gap", ",\"stream\":\"journal\",\"bytes\":0,\"reason\":\"full\"");
    let [output, stderr] = texts_of(&journal.lines);
    assert_eq!(
        output,
        "a\n[promptd: 17 bytes of stdout are missing: cut]\n\
         [promptd: bytes of journal are missing, nobody knows how many: full]\n"
    );
    assert_eq!(stderr, "[promptd: 1 byte of stderr is missing: cut]\n");
}

/// Events of an agent, one record each.
#[derive(Clone, Debug)]
enum Step {
    Output(Stream, Vec<u8>, bool, bool),
    Exited,
    Ended,
    Gap(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<(u32, Step)>> {
    let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
    // Mostly parts of a four-byte character, so that splits are common.
    let byte = prop_oneof![4 => Just(0xF0), 4 => Just(0x9F), 4 => Just(0x98), 4 => Just(0x80), 1 => any::<u8>()];
    let bytes = proptest::collection::vec(byte, 0..5);
    let late = proptest::bool::weighted(0.1);
    let step = prop_oneof![
        12 => (stream, bytes, any::<bool>(), late).prop_map(|(stream, bytes, eol, late)| Step::Output(stream, bytes, eol, late)),
        1 => Just(Step::Exited),
        1 => Just(Step::Ended),
        1 => prop_oneof![Just("stdout"), Just("stderr"), Just("journal")].prop_map(Step::Gap),
    ];
    proptest::collection::vec((1_u32..3, step), 0..30)
}

fn journal(steps: &[(u32, Step)]) -> Journal {
    let mut journal = Journal::default();
    for (turn, step) in steps {
        match step {
            Step::Output(stream, bytes, eol, late) => journal.output(*turn, *stream, bytes, *eol, *late),
            Step::Exited => journal.body(*turn, &Body::Exited(promptd_model::Exited::default())),
            Step::Ended => journal.end(*turn, ended(Status::Completed)),
            Step::Gap(stream) => journal.raw(
                *turn,
                "gap",
                &format!(",\"stream\":\"{stream}\",\"bytes\":3,\"reason\":\"r\""),
            ),
        };
    }
    journal
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn text_does_not_depend_on_splits(steps in steps(), cuts in proptest::collection::vec(1_usize..6, 1..30)) {
        let journal = journal(&steps);
        let (mut from, mut split) = (0, [String::new(), String::new()]);
        let mut cuts = cuts.into_iter().cycle();
        let mut count = 0;
        while from < journal.lines.len() {
            // If nothing is ready, more lines are needed.
            count = (count + cuts.next().unwrap()).min(journal.lines.len() - from);
            let lines = &journal.lines[from..from + count];
            let end = from + count == journal.lines.len();
            let ready = match ready(lines) {
                0 if end => count,
                ready => ready,
            };
            if ready > 0 {
                for (whole, piece) in split.iter_mut().zip(texts_of(&lines[..ready])) {
                    whole.push_str(&piece);
                }
                from += ready;
                count = 0;
            }
        }
        prop_assert_eq!(split, texts_of(&journal.lines));
    }

    #[test]
    fn text_equals_lossy_utf8(
        text in "\\PC{0,40}",
        garbage in proptest::collection::vec(any::<u8>(), 0..6),
        cuts in proptest::collection::vec(1_usize..4, 1..40),
    ) {
        let bytes = [text.as_bytes(), &garbage].concat();
        let (mut journal, mut rest) = (Journal::default(), bytes.as_slice());
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            journal.stdout(piece, false);
            rest = behind;
        }
        journal.stdout(rest, false);
        let [output, _] = texts_of(&journal.lines);
        prop_assert_eq!(output, String::from_utf8_lossy(&bytes));
    }
}
