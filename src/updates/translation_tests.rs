//! What becomes of a journal in the view, wherever reading begins.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::begin;
use super::*;
use crate::journal::{Chunk, output_of};
use crate::model::SessionState;

/// Says a known line with how many it has read before; a `+` in it twice; of a `-` nothing is to be said.
#[derive(Clone, Default)]
struct Counting(usize);

impl Translator for Counting {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        self.0 += 1;
        let line = std::str::from_utf8(line).ok()?;
        let said = Update::message(format!("{}:{line}", self.0));
        match line.bytes().next()? {
            b'+' => Some(vec![said.clone(), said]),
            b'-' => Some(Vec::new()),
            b'a'..=b'z' => Some(vec![said]),
            _ => None,
        }
    }
}

fn counting() -> Option<Box<dyn Translator>> {
    Some(Box::new(Counting::default()))
}

#[derive(Default)]
struct Journal(Vec<String>);

impl Journal {
    fn put(&mut self, turn: u32, kind: &str, fields: &str) -> &mut Self {
        let seq = self.0.len() + 1;
        let turn = if turn > 0 {
            format!("\"turn\":{turn},")
        } else {
            String::new()
        };
        let time = "2026-11-21T02:40:00.123456Z";
        self.0.push(format!(
            "{{\"seq\":{seq},\"time\":\"{time}\",{turn}\"type\":\"{kind}\"{fields}}}"
        ));
        self
    }

    fn prompt(&mut self, turn: u32) -> &mut Self {
        self.put(turn, "prompt", ",\"text\":\"do it\",\"idempotency_key\":\"k\"")
    }

    fn started(&mut self, turn: u32) -> &mut Self {
        let process = ",\"pid\":7,\"program\":\"/bin/a\",\"attempt\":1,\"start_ticks\":1,\"boot_id\":\"b\"";
        self.put(turn, "started", process)
    }

    fn setup(&mut self, turn: u32) -> &mut Self {
        let step = ",\"step\":1,\"of\":1,\"command\":\"x\",\"attempt\":1,\"pid\":7,\"start_ticks\":1,\"boot_id\":\"b\"";
        self.put(turn, "setup", step)
    }

    fn exited(&mut self, turn: u32) -> &mut Self {
        let end = ",\"code\":0,\"duration\":1.0,\"resources\":{\"cpu_seconds\":0,\"max_rss_bytes\":0},\"leftover_processes\":0";
        self.put(turn, "exited", end)
    }

    fn ended(&mut self, turn: u32) -> &mut Self {
        self.put(turn, "turn_ended", ",\"status\":\"completed\"")
    }

    fn output(&mut self, turn: u32, stream: Stream, bytes: &[u8], eol: bool, late: bool) -> &mut Self {
        let output = Output {
            late,
            ..output_of(&Chunk { bytes, eol }, 1)
        };
        let mut fields = serde_json::to_value(output).unwrap();
        fields.as_object_mut().unwrap().remove("to");
        let fields = fields.to_string();
        let fields = format!(",\"to\":1,{}", &fields[1..fields.len() - 1]);
        self.put(turn, stream.name(), fields.trim_end_matches(','))
    }

    fn stdout(&mut self, bytes: &[u8], eol: bool) -> &mut Self {
        self.output(1, Stream::Stdout, bytes, eol, false)
    }

    fn text(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|line| format!("{line}\n").into_bytes())
            .collect()
    }

    /// The state after so many records.
    fn state(&self, count: usize) -> SessionState {
        let mut state = SessionState::default();
        for line in &self.0[..count] {
            state.apply(&decode(line.as_bytes()).unwrap_or_else(|| panic!("no record: {line}")));
        }
        state
    }

    /// The view behind a record, by somebody who knows the first `known` records when reading begins.
    fn behind(&self, fresh: Option<Box<dyn Translator>>, after: usize, known: usize) -> Vec<Line> {
        let after = u64::try_from(after).unwrap();
        let begin = begin(&self.state(known), after);
        assert!(begin <= after);
        let mut translation = Translation::new(fresh, after);
        let from = usize::try_from(begin).unwrap();
        let mut lines = Vec::new();
        for line in &self.0[from..] {
            translation.line(line.as_bytes(), &mut lines);
        }
        assert_eq!(translation.seq(), u64::try_from(self.0.len()).unwrap());
        lines
    }

    fn all(&self) -> Vec<Line> {
        self.behind(counting(), 0, self.0.len())
    }
}

fn value(line: &Line) -> Value {
    serde_json::from_slice(&line.text).unwrap()
}

/// What each line says: an update, or a record's type.
fn said(lines: &[Line]) -> Vec<Value> {
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

fn raw_of(stream: &str, line: &str) -> Value {
    json!({ "sessionUpdate": "_raw", "stream": stream, "line": line })
}

#[test]
fn a_turn_is_told_in_the_words_of_its_agent() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"hel", false).stdout(b"lo", true);
    journal.stdout(b"{}", true).stdout(b"-", true).stdout(b"+x", true);
    journal.output(1, Stream::Stderr, b"oh", true, false);
    journal.exited(1).ended(1);
    let lines = journal.all();
    let message = |text: &str| json!(["agent_message_chunk", text]);
    assert_eq!(
        said(&lines),
        [
            json!(["user_message_chunk", "do it"]),
            json!("started"),
            message("1:hello"),
            raw_of("stdout", "{}"),
            message("4:+x"),
            message("4:+x"),
            raw_of("stderr", "oh"),
            json!("exited"),
            json!("turn_ended"),
        ]
    );
    let hello = r#"{"seq":4,"time":"2026-11-21T02:40:00.123456Z","turn":1,"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"1:hello"}}}"#;
    assert_eq!(lines[2].text, hello);
    assert_eq!(lines[1].text, journal.0[1], "a record is passed as it is");
    let twins: Vec<_> = lines[4..6]
        .iter()
        .map(|line| (line.seq, value(line)["index"].as_u64(), line.last))
        .collect();
    assert_eq!(twins, [(7, Some(0), false), (7, Some(1), true)]);
    assert!(value(&lines[2])["index"].is_null());
    let head = lines[2].head().unwrap();
    assert_eq!((head.seq, head.turn, head.kind), (4, 1, Kind::Other("update")));
    assert_eq!(lines[1].head().unwrap().kind, Kind::Other("started"));
}

#[test]
fn what_no_newline_ended_comes_before_the_exit_and_under_its_number() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"last words", false);
    journal.output(1, Stream::Stderr, b"why", false, false).exited(1);
    // A worker that outlived its launcher.
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
        said(&lines)[2..],
        [
            json!(["agent_message_chunk", "1:last words"]),
            raw_of("stderr", "why"),
            json!("exited"),
            json!(["agent_message_chunk", "2:more"]),
            json!("turn_ended"),
        ]
    );
}

#[test]
fn setup_and_late_output_are_no_words_of_the_agent() {
    let mut journal = Journal::default();
    journal.prompt(1).setup(1).stdout(b"clo", false).stdout(b"ned", true);
    journal.stdout(b"half", false).started(1).stdout(b"word", true);
    journal.exited(1).ended(1);
    journal.output(1, Stream::Stdout, b"late", false, true);
    journal.output(1, Stream::Stdout, b"r", true, true);
    let half = json!({ "sessionUpdate": "_raw", "stream": "stdout", "line": "late", "eol": false });
    assert_eq!(
        said(&journal.all())[2..],
        [
            raw_of("stdout", "cloned"),
            raw_of("stdout", "half"),
            json!("started"),
            json!(["agent_message_chunk", "1:word"]),
            json!("exited"),
            json!("turn_ended"),
            half,
            raw_of("stdout", "r"),
        ]
    );
}

#[test]
fn each_attempt_is_read_anew() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"one", true).exited(1);
    journal.put(1, "retry", ",\"attempt\":2,\"delay\":0.0,\"cause\":\"agent_error\"");
    journal.started(1).stdout(b"one", true);
    let lines = said(&journal.all());
    assert_eq!(lines[2], lines[6]);
}

#[test]
fn without_a_translator_output_is_the_answer_at_once_and_characters_stay_whole() {
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
    let lines = said(&journal.behind(None, 0, 0));
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
        said(&journal.all())[2..],
        [json!(["agent_message_chunk", "1:cut"]), json!("gap"), on]
    );
}

#[test]
fn what_is_damaged_is_shown_as_it_is() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).put(1, "stdout", ",\"to\":3,\"data\":17");
    journal.0.push("no record".to_owned());
    let mut translation = Translation::new(counting(), 0);
    let lines = translation.bytes(&journal.text());
    assert_eq!(lines[2].text, journal.0[2]);
    assert_eq!((&lines[3].text[..], lines[3].head()), (&b"no record"[..], None));
}

#[test]
fn of_what_is_over_nothing_is_kept() {
    let mut journal = Journal::default();
    journal.prompt(1).started(1).stdout(b"open", false);
    let mut translation = Translation::new(counting(), 0);
    translation.bytes(&journal.text());
    assert_eq!(translation.held(), 4);
    journal.ended(1);
    translation.bytes(format!("{}\n", journal.0[3]).as_bytes());
    assert_eq!(translation.held(), 0);
    assert_eq!(begin(&journal.state(4), 4), 4);
    // Whoever knows less begins earlier.
    assert_eq!(begin(&journal.state(3), 4), 1);
    assert_eq!(begin(&journal.state(4), 1), 0);
}

/// What happens in a turn.
#[derive(Clone, Debug)]
enum Step {
    Chunk(Stream, Vec<u8>, bool),
    LateOfThePrevious(Vec<u8>, bool),
    PromptOfTheNext,
    Setup,
    Exit,
    Retry,
    Gap,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || {
        prop_oneof![
            4 => "[a-c+{-][a-c]{0,3}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>().prop_filter("a chunk has no newline", |byte| *byte != b'\n'), 0..4),
            1 => Just(b"\xc3".to_vec()),
        ]
    };
    let stream = prop_oneof![3 => Just(Stream::Stdout), 1 => Just(Stream::Stderr)];
    prop_oneof![
        8 => (stream, bytes(), any::<bool>()).prop_map(|(stream, bytes, eol)| Step::Chunk(stream, bytes, eol)),
        1 => (bytes(), any::<bool>()).prop_map(|(bytes, eol)| Step::LateOfThePrevious(bytes, eol)),
        1 => Just(Step::PromptOfTheNext),
        1 => Just(Step::Setup),
        1 => Just(Step::Exit),
        1 => Just(Step::Retry),
        1 => Just(Step::Gap),
    ]
}

fn journal() -> impl Strategy<Value = Journal> {
    proptest::collection::vec(proptest::collection::vec(step(), 0..14), 1..4).prop_map(|turns| {
        let mut journal = Journal::default();
        let (count, mut prompted) = (u32::try_from(turns.len()).unwrap(), 0);
        for (turn, steps) in (1..).zip(turns) {
            if prompted < turn {
                journal.prompt(turn);
                prompted = turn;
            }
            journal.started(turn);
            for step in steps {
                match step {
                    Step::Chunk(stream, bytes, eol) => journal.output(turn, stream, &bytes, eol, false),
                    Step::LateOfThePrevious(bytes, eol) if turn > 1 => {
                        journal.output(turn - 1, Stream::Stdout, &bytes, eol, true)
                    }
                    Step::PromptOfTheNext if prompted == turn && turn < count => {
                        prompted = turn + 1;
                        journal.prompt(turn + 1)
                    }
                    Step::LateOfThePrevious(..) | Step::PromptOfTheNext => {
                        journal.put(0, "thawed", ",\"reason\":\"x\"")
                    }
                    Step::Setup => journal.setup(turn).stdout(b"cloned", false).started(turn),
                    Step::Exit => journal.exited(turn),
                    Step::Retry => {
                        journal.put(turn, "retry", ",\"attempt\":2,\"delay\":0.0,\"cause\":\"agent_error\"");
                        journal.started(turn)
                    }
                    Step::Gap => journal.put(
                        turn,
                        "gap",
                        ",\"stream\":\"stdout\",\"bytes\":5,\"reason\":\"truncated\",\"to\":8",
                    ),
                };
            }
            if turn < count {
                journal.ended(turn);
            }
        }
        journal
    })
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

proptest! {
    #[test]
    fn reading_on_from_any_record_gives_what_reading_all_gives(journal in journal(), translated: bool, lag in 0_usize..9) {
        let fresh = || if translated { counting() } else { None };
        let count = journal.0.len();
        let all = journal.behind(fresh(), 0, count);
        for after in 0..=count {
            let wanted: Vec<&Line> = all.iter().filter(|line| line.seq > u64::try_from(after).unwrap()).collect();
            for known in [count, after, after.saturating_sub(lag)] {
                let found = journal.behind(fresh(), after, known);
                prop_assert_eq!(found.iter().collect::<Vec<_>>(), wanted.clone(), "after {} known {}", after, known);
            }
        }
        // Whoever has the last line of a record has all of them.
        for pair in all.windows(2) {
            prop_assert_eq!(pair[0].last, pair[0].seq != pair[1].seq);
        }
    }

    #[test]
    fn a_copy_goes_on_from_where_it_was_taken(journal in journal(), at: proptest::sample::Index) {
        let at = at.index(journal.0.len());
        let mut translation = Translation::new(counting(), 0);
        let mut lines = Vec::new();
        for line in &journal.0[..at] {
            translation.line(line.as_bytes(), &mut lines);
        }
        let mut again = (translation.clone(), Vec::new());
        let mut first = Vec::new();
        for line in &journal.0[at..] {
            translation.line(line.as_bytes(), &mut first);
        }
        for line in &journal.0[at..] {
            again.0.line(line.as_bytes(), &mut again.1);
        }
        prop_assert_eq!(first, again.1);
    }

    #[test]
    fn every_cut_of_the_bytes_gives_the_same(journal in journal(), sizes in proptest::collection::vec(1_usize..300, 1..6)) {
        let (text, mut lines) = (journal.text(), Vec::new());
        let mut translation = Translation::new(counting(), 0);
        let mut rest = &text[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            lines.extend(translation.bytes(piece));
            rest = behind;
        }
        prop_assert_eq!(lines, journal.all());
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        Translation::new(counting(), 0).bytes(&bytes);
    }
}
