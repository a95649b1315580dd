//! A translator for tests, and journals made by hand or at random.

use std::fmt;

use proptest::prelude::*;

use crate::updates::{Line, Translation, replay_start};
use crate::{Translator, Update};
use promptd_model::{Chunk, Output, SessionState, Stream, decode, output_of};

/// Gives a known line with its number; a line that starts with `+` twice; a line that starts with `-` not at all.
#[derive(Clone, Default)]
pub(super) struct Counting(usize);

impl Translator for Counting {
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        self.0 += 1;
        let line = std::str::from_utf8(line).ok()?;
        let update = Update::message(format!("{}:{line}", self.0));
        match line.bytes().next()? {
            b'+' => Some(vec![update.clone(), update]),
            b'-' => Some(Vec::new()),
            b'a'..=b'z' => Some(vec![update]),
            _ => None,
        }
    }
}

pub(super) fn counting() -> Box<dyn Translator> {
    Box::new(Counting::default())
}

#[derive(Default)]
pub(super) struct Journal(pub(super) Vec<String>);

impl Journal {
    pub(super) fn put(&mut self, turn: u32, kind: &str, fields: &str) -> &mut Self {
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

    pub(super) fn prompt(&mut self, turn: u32) -> &mut Self {
        self.put(turn, "prompt", ",\"text\":\"do it\",\"idempotency_key\":\"k\"")
    }

    pub(super) fn started(&mut self, turn: u32) -> &mut Self {
        let process = ",\"pid\":7,\"program\":\"/bin/a\",\"attempt\":1,\"start_ticks\":1,\"boot_id\":\"b\"";
        self.put(turn, "started", process)
    }

    pub(super) fn setup(&mut self, turn: u32) -> &mut Self {
        let step = ",\"step\":1,\"of\":1,\"command\":\"x\",\"attempt\":1,\"pid\":7,\"start_ticks\":1,\"boot_id\":\"b\"";
        self.put(turn, "setup", step)
    }

    pub(super) fn exited(&mut self, turn: u32) -> &mut Self {
        let end = ",\"code\":0,\"duration\":1.0,\"resources\":{\"cpu_seconds\":0,\"max_rss_bytes\":0},\"leftover_processes\":0";
        self.put(turn, "exited", end)
    }

    pub(super) fn ended(&mut self, turn: u32) -> &mut Self {
        self.put(turn, "turn_ended", ",\"status\":\"completed\"")
    }

    pub(super) fn output(&mut self, turn: u32, stream: Stream, bytes: &[u8], eol: bool, late: bool) -> &mut Self {
        let output = Output {
            late,
            ..output_of(&Chunk { bytes, eol }, 1)
        };
        let mut fields = serde_json::to_value(output).unwrap();
        let fields = fields.as_object_mut().unwrap();
        // In output records the offset comes first.
        fields.remove("to");
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!(",\"{name}\":{value}"))
            .collect();
        self.put(turn, stream.name(), &format!(",\"to\":1{fields}"))
    }

    pub(super) fn stdout(&mut self, bytes: &[u8], eol: bool) -> &mut Self {
        self.output(1, Stream::Stdout, bytes, eol, false)
    }

    pub(super) fn text(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|line| format!("{line}\n").into_bytes())
            .collect()
    }

    /// The state after so many records.
    pub(super) fn state(&self, count: usize) -> SessionState {
        let mut state = SessionState::default();
        for line in &self.0[..count] {
            state.apply(&decode(line.as_bytes()).unwrap_or_else(|| panic!("no record: {line}")));
        }
        state
    }

    /// The view after a record, for a reader that knows the first `known` records at its start.
    pub(super) fn after(&self, translator: Option<Box<dyn Translator>>, after: usize, known: usize) -> Vec<Line> {
        let after = u64::try_from(after).unwrap();
        let start = replay_start(&self.state(known), after);
        assert!(start <= after);
        let mut translation = Translation::new(translator, after);
        let from = usize::try_from(start).unwrap();
        let mut lines = Vec::new();
        for line in &self.0[from..] {
            translation.push_line(line.as_bytes(), &mut lines);
        }
        assert_eq!(translation.seq(), u64::try_from(self.0.len()).unwrap());
        lines
    }

    pub(super) fn all(&self) -> Vec<Line> {
        self.after(Some(counting()), 0, self.0.len())
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// An event in a turn.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Chunk(Stream, Vec<u8>, bool),
    LateOfThePrevious(Vec<u8>, bool),
    PromptOfTheNext,
    Setup,
    Exit,
    Retry,
    Gap,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
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

pub(super) fn journal() -> impl Strategy<Value = Journal> {
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
