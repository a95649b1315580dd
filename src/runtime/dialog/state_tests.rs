//! What is due, wherever a server is killed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use promptd_agents::Observer;
use promptd_model::AnswerDetails;

/// A made-up protocol: `ask X` is a question, `back X` takes it back, `say X` wants the answer `said X`, `end` is the end.
#[derive(Default)]
struct Toy {
    seen: Observation,
    effects: Vec<Effect>,
    open: Vec<String>,
    interrupted: bool,
}

impl Toy {
    fn begun(version: u32) -> Box<Self> {
        let mut toy = Self::default();
        toy.write(&format!("{{\"id\":0,\"method\":\"hello\",\"version\":{version}}}"));
        Box::new(toy)
    }

    fn write(&mut self, line: &str) {
        self.effects.push(Effect::Write(format!("{line}\n").into_bytes()));
    }
}

impl Observer for Toy {
    fn observe_line(&mut self, _stream: Stream, line: &[u8]) {
        let line = String::from_utf8_lossy(line).into_owned();
        match line.split_once(' ') {
            Some(("say", what)) => self.write(&format!("said {what}")),
            Some(("ask", id)) if self.interrupted => self.write(&format!("{id}=cancelled")),
            Some(("ask", id)) => {
                self.open.push(id.to_owned());
                self.effects.push(Effect::Ask(Question {
                    id: id.to_owned(),
                    title: String::new(),
                    options: Vec::new(),
                    ..Question::default()
                }));
            }
            Some(("back", id)) => {
                self.open.retain(|open| open != id);
                self.effects.push(Effect::Withdraw(id.to_owned()));
            }
            _ if line == "end" => {
                self.open.clear();
                self.effects.push(Effect::Close);
            }
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Driver for Toy {
    fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn answer(&mut self, id: &str, option: &str, _details: &AnswerDetails) {
        if let Some(place) = self.open.iter().position(|open| open == id) {
            self.open.remove(place);
            self.write(&format!("{id}={option}"));
        }
    }

    fn interrupt(&mut self) {
        if !std::mem::replace(&mut self.interrupted, true) {
            self.write("stop");
            for id in std::mem::take(&mut self.open) {
                self.write(&format!("{id}=cancelled"));
            }
        }
    }

    fn observe_written(&mut self, line: &[u8]) -> bool {
        if line == b"stop" && !std::mem::replace(&mut self.interrupted, true) {
            for id in std::mem::take(&mut self.open) {
                self.write(&format!("{id}=cancelled"));
            }
        }
        line == b"stop"
    }
}

fn begun(version: u32) -> DialogState {
    DialogState::new(Toy::begun(version), 2, 3)
}

fn stdin(to: u64, text: &str) -> Output {
    let (data, eol) = text.strip_suffix('\n').map_or((text, false), |line| (line, true));
    Output {
        to,
        eol,
        data: Some(data.to_owned()),
        ..Output::default()
    }
}

fn answer(id: &str, option: &str, by: &str) -> PermissionAnswer {
    PermissionAnswer {
        id: format!("2.3.{id}"),
        option: option.to_owned(),
        by: by.to_owned(),
        ..PermissionAnswer::default()
    }
}

/// A record, as far as dialogs read it.
#[derive(Clone, Debug)]
enum Record {
    Line(String),
    Stdin(Output),
    Answer(PermissionAnswer),
}

/// A journal, a keeper and the servers that come and go.
struct World {
    journal: Vec<Record>,
    server: DialogState,
    stdin: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let server = begun(1);
        let (journal, stdin) = (Vec::new(), Vec::new());
        Self { journal, server, stdin }
    }

    fn append(&mut self, record: Record) {
        take(&mut self.server, &record);
        self.journal.push(record);
    }

    /// The keeper takes so many bytes of what is due.
    fn send(&mut self, most: usize) {
        let due = self.server.due();
        let taken = &due[..most.min(due.len())];
        self.stdin.extend_from_slice(taken);
        for line in String::from_utf8(taken.to_vec()).unwrap().split_inclusive('\n') {
            let to = self.server.written_to() + u64::try_from(line.len()).unwrap();
            self.append(Record::Stdin(stdin(to, line)));
        }
    }

    fn kill(&mut self) {
        self.server = begun(1);
        for record in self.journal.clone() {
            take(&mut self.server, &record);
        }
    }
}

fn take(dialog: &mut DialogState, record: &Record) {
    match record {
        Record::Line(line) => dialog.read_line(Stream::Stdout, line.as_bytes()),
        Record::Stdin(output) => dialog.record_stdin(output),
        Record::Answer(answer) => dialog.record_answer(answer),
    }
}

#[test]
fn a_line_in_the_journal_is_not_written_again() {
    let mut dialog = begun(1);
    let hello = String::from_utf8(dialog.due()).unwrap();
    dialog.record_stdin(&stdin(9, &hello));
    assert_eq!((dialog.due(), dialog.written_to()), (Vec::new(), 9));
    dialog.read_line(Stream::Stdout, b"say a");
    dialog.read_line(Stream::Stdout, b"say a");
    dialog.record_stdin(&stdin(18, "said a\n"));
    assert_eq!(dialog.due(), b"said a\n");
}

#[test]
fn a_partly_written_line_is_finished_first() {
    let mut dialog = begun(1);
    let hello = String::from_utf8(dialog.due()).unwrap();
    dialog.record_stdin(&stdin(0, &hello));
    dialog.read_line(Stream::Stdout, b"say long");
    dialog.read_line(Stream::Stdout, b"say b");
    dialog.record_stdin(&stdin(3, "sai"));
    assert_eq!(dialog.due(), b"d long\nsaid b\n");
}

#[test]
fn another_versions_wording_is_not_repeated() {
    let former = String::from_utf8(begun(1).due()).unwrap();
    let mut dialog = begun(2);
    dialog.record_stdin(&stdin(9, &former));
    assert!(dialog.due().is_empty() && !dialog.is_interrupted());
}

#[test]
fn a_line_that_only_another_version_writes_is_no_interrupt() {
    let mut dialog = begun(1);
    dialog.record_stdin(&stdin(5, "more\n"));
    assert!(!dialog.is_interrupted());
}

#[test]
fn an_interrupt_is_known_from_the_journal() {
    let mut world = World::new();
    world.send(usize::MAX);
    world.append(Record::Line("ask q".to_owned()));
    assert_eq!(world.server.questions().len(), 1);
    world.server.interrupt();
    assert_eq!(world.server.due(), b"stop\nq=cancelled\n");
    assert!(world.server.questions().is_empty());
    world.send(5);
    world.kill();
    assert!(world.server.is_interrupted() && world.server.questions().is_empty());
    assert_eq!(world.server.due(), b"q=cancelled\n");
    let mut world = World::new();
    world.send(usize::MAX);
    world.append(Record::Line("ask q".to_owned()));
    world.append(Record::Answer(answer("q", "cancelled", "interrupt")));
    world.kill();
    assert!(world.server.is_interrupted());
    assert_eq!(world.server.due(), b"stop\nq=cancelled\n");
}

#[test]
fn a_withdrawn_question_ends_no_turn() {
    let mut world = World::new();
    world.send(usize::MAX);
    for line in ["ask q", "ask r", "back q"] {
        world.append(Record::Line(line.to_owned()));
    }
    assert_eq!(world.server.withdrawn(), ["2.3.q"]);
    world.append(Record::Answer(answer("q", "cancelled", "agent")));
    for _replay in 0..2 {
        let open: Vec<_> = world.server.questions().iter().map(|open| &open.id).collect();
        assert_eq!(open, ["2.3.r"]);
        assert!(!world.server.is_interrupted() && world.server.due().is_empty());
        world.kill();
    }
}

#[test]
fn no_question_is_open_after_the_end() {
    let mut world = World::new();
    world.send(usize::MAX);
    for line in ["ask q", "end"] {
        world.append(Record::Line(line.to_owned()));
    }
    assert!(world.server.questions().is_empty());
    // A default answer after the end is not sent, and does not change a turn that has its result.
    world.append(Record::Answer(answer("q", "cancelled", "default")));
    assert!(!world.server.is_interrupted() && world.server.due().is_empty());
}

#[test]
fn closing_comes_after_all_that_is_due() {
    let mut world = World::new();
    world.append(Record::Line("end".to_owned()));
    assert!(world.server.closes() && !world.server.due().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Say(u8),
    Ask,
    Answer,
    Send(usize),
    Interrupt,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Say),
        2 => Just(Step::Ask),
        2 => Just(Step::Answer),
        4 => (1_usize..40).prop_map(Step::Send),
        1 => Just(Step::Interrupt),
        4 => Just(Step::Kill),
    ]
}

proptest! {
    /// Wherever servers are killed, the agent gets every line once, and none in pieces.
    #[test]
    fn the_agent_gets_each_line_once_whatever_is_killed(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        let (mut asked, mut open, mut interrupted) = (0, Vec::new(), false);
        *expected.entry(String::from_utf8(world.server.due()).unwrap()).or_default() += 1;
        for step in steps {
            match step {
                Step::Say(what) => {
                    world.append(Record::Line(format!("say {what}")));
                    *expected.entry(format!("said {what}\n")).or_default() += 1;
                }
                Step::Ask => {
                    asked += 1;
                    open.push(asked.to_string());
                    world.append(Record::Line(format!("ask {asked}")));
                }
                Step::Answer if !interrupted => {
                    if let Some(id) = open.pop() {
                        world.append(Record::Answer(answer(&id, "yes", "caller")));
                        *expected.entry(format!("{id}=yes\n")).or_default() += 1;
                    }
                }
                Step::Answer => {}
                Step::Send(most) => world.send(most),
                Step::Interrupt => {
                    // As the runtime does it: the record of what is open first.
                    for id in &open {
                        world.append(Record::Answer(answer(id, "cancelled", "interrupt")));
                    }
                    world.server.interrupt();
                    interrupted = true;
                }
                // An interrupt that was not written yet may be lost; a caller repeats it.
                Step::Kill => {
                    world.kill();
                    world.server.due();
                    interrupted = world.server.is_interrupted();
                }
            }
        }
        world.kill();
        world.server.due();
        interrupted |= world.server.is_interrupted();
        if interrupted {
            *expected.entry("stop\n".to_owned()).or_default() += 1;
            for id in open {
                *expected.entry(format!("{id}=cancelled\n")).or_default() += 1;
            }
        }
        if interrupted {
            world.server.interrupt();
        }
        world.send(usize::MAX);
        let mut got: BTreeMap<String, usize> = BTreeMap::new();
        for line in String::from_utf8(world.stdin.clone()).unwrap().split_inclusive('\n') {
            *got.entry(line.to_owned()).or_default() += 1;
        }
        prop_assert_eq!(got, expected);
        prop_assert!(world.server.due().is_empty());
    }
}
