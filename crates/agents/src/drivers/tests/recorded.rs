//! Dialogs that were recorded with the real programs, replayed with the drivers.
//!
//! Each line of a recording is the next event: `{"out": …}` a line of the agent, `{"in": …}` a line to the agent,
//! `{"answer": …}` the chosen option, `{"interrupt": true}` an interrupt.

use proptest::prelude::*;
use serde_json::Value;

use crate::drivers::driver::{Driver, Effect, Question};
use crate::drivers::{acp, app_server, claude_control};
use crate::formats;
use crate::formats::format::Format;
use crate::launch::request::TurnRequest;
use crate::tests::{plain, recorded};
use promptd_model::{
    AnswerDetails, Cause, FinalEvent, Observation, PermissionKind, PermissionMode, StopReason, Stream,
};

/// A turn of an agent that asks.
fn asking<'a>(prompt: &'a str, resumed: Option<&'a str>) -> TurnRequest<'a> {
    TurnRequest {
        prompt,
        permission: PermissionMode::Ask,
        first_turn: resumed.is_none(),
        agent_session_id: resumed,
        ..plain()
    }
}

/// The result of a dialog.
struct Replayed {
    questions: Vec<Question>,
    seen: Observation,
    updates: Vec<String>,
}

impl Replayed {
    fn last(&self) -> &FinalEvent {
        self.seen.final_event.as_ref().expect("it has ended")
    }
}

/// The effects that are due, in the order of the recording.
#[derive(Default)]
struct Due {
    lines: std::collections::VecDeque<Value>,
    questions: Vec<Question>,
    closed: bool,
}

impl Due {
    fn collect(&mut self, driver: &mut dyn Driver) {
        for effect in driver.take_effects() {
            match effect {
                Effect::Write(lines) => {
                    let lines = String::from_utf8(lines).expect("text");
                    assert!(lines.ends_with('\n'));
                    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
                    self.lines.extend(lines);
                }
                Effect::Ask(question) => self.questions.push(question),
                // Codex reports this for each answered question, which is closed then.
                other @ (Effect::Withdraw(_) | Effect::Steered { .. }) => panic!("{other:?}"),
                Effect::Close => {
                    assert!(!self.closed, "closed twice");
                    self.closed = true;
                }
            }
        }
    }
}

type NewDriver = fn(&TurnRequest<'_>) -> Box<dyn Driver>;

/// The driver and the format of an agent.
fn protocol(name: &str) -> (NewDriver, &'static Format) {
    match name {
        "claude" => (claude_control::new, &formats::claude::CLAUDE_CONTROL),
        "codex" => (app_server::new, &formats::app_server::APP_SERVER),
        _ => (acp::new, &formats::acp::ACP),
    }
}

/// Replays a dialog: the driver must write exactly the recorded lines.
fn replay(name: &str, request: &TurnRequest<'_>, recording: &str) -> Replayed {
    let (driver, format) = protocol(name);
    let mut driver = driver(request);
    let mut translator = format.new_translator().expect("it has a translator");
    let (mut due, mut updates) = (Due::default(), Vec::new());
    due.collect(&mut *driver);
    let recording = recording.replace("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""));
    for record in recording.lines() {
        let record: Value = serde_json::from_str(record).expect("JSON");
        if let Some(line) = record.get("out") {
            let line = line.to_string();
            driver.observe_line(Stream::Stdout, line.as_bytes());
            assert!(driver.observation().last_line_known, "{line}");
            let translated = translator.translate_line(line.as_bytes());
            updates.extend(translated.map_or_else(|| vec!["raw".to_owned()], |all| all.iter().map(short).collect()));
        } else if let Some(line) = record.get("in") {
            let next = due.lines.pop_front();
            assert_eq!(next.as_ref(), Some(line));
            driver.observe_written(line.to_string().as_bytes());
        } else if let Some(option) = record.get("answer") {
            let question = due.questions.last().expect("a question").id.clone();
            let option = option.as_str().expect("an option");
            driver.answer(&question, option, &AnswerDetails::default());
        } else {
            driver.interrupt();
        }
        due.collect(&mut *driver);
    }
    assert!(due.lines.is_empty(), "{:?}", due.lines);
    assert!(due.closed, "stdin is not closed");
    updates.dedup();
    Replayed {
        questions: due.questions,
        seen: driver.observation().clone(),
        updates,
    }
}

/// An update in a few words.
fn short(update: &crate::Update) -> String {
    let update = serde_json::to_value(update).expect("JSON");
    let word = |of: &Value| of.as_str().map(str::to_owned).unwrap_or_default();
    let words = [
        word(&update["sessionUpdate"]),
        word(&update["toolCallId"]),
        word(&update["status"]),
        word(&update["title"]),
        word(&update["content"]["text"]),
    ];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// The first string under this key in the lines to the agent.
fn sent(recording: &str, key: &str) -> Option<String> {
    let mut lines = recording
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.find_map(|line| find(line.get("in")?, key))
}

fn find(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(members) => {
            let here = members.get(key).and_then(Value::as_str).map(str::to_owned);
            here.or_else(|| members.values().find_map(|value| find(value, key)))
        }
        Value::Array(list) => list.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

/// Replays the first turn of a session.
fn first(name: &str, recording: &str) -> Replayed {
    let prompt = sent(recording, "text").unwrap_or_default();
    replay(name, &asking(&prompt, None), recording)
}

/// Replays a turn that resumes the session of an earlier one.
fn next(name: &str, recording: &str) -> Replayed {
    let session = ["sessionId", "threadId"].iter().find_map(|key| sent(recording, key));
    let prompt = sent(recording, "text").unwrap_or_else(|| "again".to_owned());
    let session = session.expect("it names its session");
    let had = replay(name, &asking(&prompt, Some(session.trim())), recording);
    assert!(
        had.seen
            .agent_session_id
            .as_deref()
            .is_none_or(|id| id == session.trim()),
        "{name}"
    );
    had
}

const ALLOWED: [(&str, &str); 6] = [
    ("claude", recorded!("claude-ask-allow")),
    ("codex", recorded!("codex-ask-allow")),
    ("gemini", recorded!("gemini-ask-allow")),
    ("copilot", recorded!("copilot-ask-allow")),
    ("qwen", recorded!("qwen-ask-allow")),
    ("opencode", recorded!("opencode-ask-allow")),
];

#[test]
fn an_allowed_command_runs() {
    for (name, recording) in ALLOWED {
        let had = first(name, recording);
        let [question] = had.questions.as_slice() else {
            panic!("{name}: {:?}", had.questions)
        };
        assert_eq!(question.id, "1", "{name}");
        let call = question.tool_call.as_ref().expect("it names the call").to_string();
        assert!(call.contains("echo fine > allowed.txt"), "{name}: {call}");
        for kind in [PermissionKind::AllowOnce, PermissionKind::RejectOnce] {
            assert!(
                question.options.iter().any(|option| option.kind == kind),
                "{name}: {kind:?}"
            );
        }
        let last = had.last();
        assert_eq!(last.outcome, Ok(()), "{name}");
        assert_eq!(last.stop_reason, Some(StopReason::EndTurn), "{name}");
        assert_eq!(last.result.as_deref(), Some("Answer 1."), "{name}");
        // The model answered twice; opencode counts the last answer.
        let answers = if name == "opencode" { 1 } else { 2 };
        assert_eq!(last.usage.input_tokens, Some(110 * answers), "{name}");
        assert_eq!(last.usage.output_tokens, Some(7 * answers), "{name}");
        assert!(had.seen.agent_session_id.is_some(), "{name}");
    }
}

#[test]
fn dialogs_become_acp_updates() {
    let of = |name: &str| {
        let (_, recording) = ALLOWED.iter().find(|(agent, _)| *agent == name).expect("recorded");
        let updates = first(name, recording).updates.into_iter();
        // Codex warns about the machine of the recording.
        updates
            .filter(|update| !update.starts_with("notice "))
            .collect::<Vec<_>>()
    };
    let answer = [
        "agent_message_chunk Answer ",
        "agent_message_chunk 1",
        "agent_message_chunk .",
    ];
    for name in ["claude", "codex", "gemini", "copilot", "qwen", "opencode"] {
        let updates = of(name);
        assert!(updates.windows(3).any(|three| three == answer), "{name}: {updates:?}");
        let begins = updates.iter().filter(|update| update.starts_with("tool_call ")).count();
        assert_eq!(begins, 1, "{name}: {updates:?}");
        let ends = updates.iter().filter(|update| update.contains(" completed")).count();
        assert_eq!(ends, 1, "{name}: {updates:?}");
        assert!(
            updates.iter().all(|update| !update.starts_with("user_message")),
            "{name}"
        );
    }
    assert_eq!(
        of("codex"),
        [
            "raw",
            "config_option_update",
            "tool_call call_4 in_progress Run `echo fine > allowed.txt; cat allowed.txt`",
            "tool_call_update call_4 completed",
            "usage_update",
            "raw",
            "agent_message_chunk Answer ",
            "agent_message_chunk 1",
            "agent_message_chunk .",
            "usage_update",
            "raw",
        ]
    );
    // Gemini has its call in the question only.
    let id = "run_shell_command__run_shell_command_";
    let gemini = of("gemini");
    assert!(
        gemini
            .iter()
            .any(|update| update.starts_with(&format!("tool_call {id}")))
    );
}

#[test]
fn always_and_reject_are_sent() {
    for (name, recording) in [
        ("claude", recorded!("claude-ask-always")),
        ("codex", recorded!("codex-ask-always")),
        ("claude", recorded!("claude-ask-reject")),
        ("codex", recorded!("codex-ask-reject")),
        ("gemini", recorded!("gemini-ask-reject")),
        ("opencode", recorded!("opencode-ask-edit")),
    ] {
        let had = first(name, recording);
        assert_eq!(had.questions.len(), 1, "{name}");
        assert_eq!(had.last().result.as_deref(), Some("Answer 1."), "{name}");
    }
    let edit = first("codex", recorded!("codex-ask-always"));
    assert_eq!(
        edit.questions.first().map(|question| question.title.as_str()),
        Some("Write /w/made2.txt")
    );
}

#[test]
fn an_interrupt_cancels_the_turn() {
    for (name, recording) in [
        ("claude", recorded!("claude-ask-interrupt")),
        ("codex", recorded!("codex-ask-interrupt")),
        ("gemini", recorded!("gemini-ask-interrupt")),
    ] {
        let had = first(name, recording);
        assert_eq!(had.last().stop_reason, Some(StopReason::Cancelled), "{name}");
        assert!(had.last().outcome.is_err(), "{name}");
        assert!(had.seen.agent_session_id.is_some(), "{name}: it can be resumed");
    }
}

#[test]
fn a_failed_request_fails_the_turn() {
    for (name, recording) in [
        ("codex", recorded!("codex-ask-400")),
        ("gemini", recorded!("gemini-ask-400")),
        ("copilot", recorded!("copilot-ask-400")),
    ] {
        let had = first(name, recording);
        assert_eq!(had.last().outcome, Err(Cause::AgentError), "{name}");
        let error = had.last().error.clone().unwrap_or_default();
        assert!(error.contains("scripted failure"), "{name}: {error}");
    }
}

#[test]
fn a_follow_up_turn_has_no_updates_of_the_first() {
    for (name, recording) in [
        ("codex", recorded!("codex-ask-follow-up")),
        ("gemini", recorded!("gemini-ask-follow-up")),
        ("copilot", recorded!("copilot-ask-follow-up")),
        ("qwen", recorded!("qwen-ask-follow-up")),
        ("opencode", recorded!("opencode-ask-follow-up")),
    ] {
        let had = next(name, recording);
        assert_eq!(had.last().result.as_deref(), Some("Answer 2."), "{name}");
        assert_eq!(had.last().usage.input_tokens, Some(110), "{name}");
        assert!(had.seen.agent_session_id.is_some(), "{name}");
        let updates = had.updates;
        assert!(
            !updates.iter().any(|update| update.contains("Answer 1.")),
            "{name}: {updates:?}"
        );
        assert!(
            !updates.iter().any(|update| update.contains("tool_call")),
            "{name}: {updates:?}"
        );
    }
}

#[test]
fn a_refused_resume_fails_the_turn() {
    for (name, recording) in [
        ("codex", recorded!("codex-ask-refused")),
        ("gemini", recorded!("gemini-ask-refused")),
        ("copilot", recorded!("copilot-ask-refused")),
        ("qwen", recorded!("qwen-ask-refused")),
        ("opencode", recorded!("opencode-ask-refused")),
    ] {
        let had = next(name, recording);
        let error = had.last().error.clone().unwrap_or_default();
        assert!(
            error.starts_with("the agent refused to resume its session: "),
            "{name}: {error}"
        );
        assert!(
            had.last().outcome.is_err() && had.seen.agent_session_id.is_none(),
            "{name}"
        );
    }
}

/// An input of a driver.
#[derive(Debug, Clone)]
enum Event {
    Line(Vec<u8>),
    Answer(String, String),
    Interrupt,
    Written(Vec<u8>),
}

fn apply(driver: &mut dyn Driver, event: &Event) {
    match event {
        Event::Line(line) => driver.observe_line(Stream::Stdout, line),
        Event::Answer(id, option) => driver.answer(id, option, &AnswerDetails::default()),
        Event::Interrupt => driver.interrupt(),
        Event::Written(line) => {
            driver.observe_written(line);
        }
    }
}

/// Lines of all recordings, some of them damaged, and all other inputs, in any order.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let lines = |tag: &'static str| {
        let all = ALLOWED.iter().flat_map(|(_, recording)| recording.lines());
        let all = all.filter_map(move |line| Some(serde_json::from_str::<Value>(line).ok()?.get(tag)?.to_string()));
        all.collect::<Vec<_>>()
    };
    let line = prop_oneof![
        4 => prop::sample::select(lines("out")).prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        2 => (prop::sample::select(lines("out")), any::<prop::sample::Index>(), "[\\[\\]{}0-9n\",:]{0,3}").prop_map(
            |(line, at, with)| {
                let at = at.index(line.len());
                [line.as_bytes().get(..at), Some(with.as_bytes()), line.as_bytes().get(at + 1..)]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .copied()
                    .collect()
            }
        ),
    ];
    let option = prop::sample::select(vec!["allow", "accept", "proceed_once", "reject", "cancelled", "?"]);
    let event = prop_oneof![
        12 => line.prop_map(Event::Line),
        2 => ("[1-3]", option).prop_map(|(id, option)| Event::Answer(id, option.to_owned())),
        1 => Just(Event::Interrupt),
        1 => prop::sample::select(lines("in")).prop_map(|line| Event::Written(line.into_bytes())),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_replay_has_the_same_effects_and_nothing_panics(
        name in prop::sample::select(vec!["claude", "codex", "gemini"]),
        resumed in prop::option::of(Just("s1")),
        events in events(),
    ) {
        let (driver, format) = protocol(name);
        let request = asking("hello", resumed);
        let (mut live, mut again) = (driver(&request), driver(&request));
        let mut translator = format.new_translator().expect("it has a translator");
        let mut effects = live.take_effects();
        for event in &events {
            apply(&mut *live, event);
            effects.extend(live.take_effects());
            if let Event::Line(line) = event {
                let _translated = translator.translate_line(line);
            }
        }
        for event in &events {
            apply(&mut *again, event);
        }
        prop_assert_eq!(&effects, &again.take_effects());
        prop_assert_eq!(live.observation(), again.observation());
        let closings = effects.iter().filter(|effect| **effect == Effect::Close).count();
        prop_assert!(closings <= 1);
        if closings == 1 {
            prop_assert_eq!(effects.last(), Some(&Effect::Close), "no effect follows the end");
        }
    }
}
