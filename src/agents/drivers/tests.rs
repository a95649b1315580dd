//! Conversations that were recorded with the real programs, had again with the drivers.
//!
//! Each line of a recording is what came next: `{"out": …}` a line of the agent, `{"in": …}` a line to it, `{"answer":
//! …}` the option that was chosen, `{"interrupt": true}` somebody's wish.

use serde_json::{Value, json};

use super::super::tests::{agent, plain};
use super::*;
use crate::model::{Cause, FinalEvent, Observation, PermissionMode, StopReason, Stream};

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

/// What came of a conversation.
struct Had {
    questions: Vec<Question>,
    closed: bool,
    seen: Observation,
    updates: Vec<String>,
}

impl Had {
    fn last(&self) -> &FinalEvent {
        self.seen.final_event.as_ref().expect("it has ended")
    }
}

/// What the driver has to say, in the order of the recording.
#[derive(Default)]
struct Due {
    lines: std::collections::VecDeque<Value>,
    questions: Vec<Question>,
    closed: bool,
}

impl Due {
    fn collect(&mut self, driver: &mut dyn Driver) {
        for effect in driver.effects() {
            match effect {
                Effect::Write(lines) => {
                    let lines = String::from_utf8(lines).expect("text");
                    assert!(lines.ends_with('\n'));
                    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
                    self.lines.extend(lines);
                }
                Effect::Ask(question) => self.questions.push(question),
                Effect::Close => {
                    assert!(!self.closed, "closed twice");
                    self.closed = true;
                }
            }
        }
    }
}

/// Has a recorded conversation again: the driver must say exactly what was said then.
fn had(name: &str, request: &TurnRequest<'_>, recording: &str) -> Had {
    let agent = agent(name);
    let mut driver = agent.driver(request).expect("it can be talked with");
    let mut translator = agent.translator(request.permission).expect("it has words");
    let (mut due, mut updates) = (Due::default(), Vec::new());
    due.collect(&mut *driver);
    for record in recording.lines() {
        let record: Value = serde_json::from_str(record).expect("JSON");
        if let Some(line) = record.get("out") {
            let line = line.to_string();
            driver.line(Stream::Stdout, line.as_bytes());
            assert!(driver.observation().last_line_known, "{line}");
            let told = translator.line(line.as_bytes());
            updates.extend(told.map_or_else(|| vec!["raw".to_owned()], |told| told.iter().map(short).collect()));
        } else if let Some(said) = record.get("in") {
            let next = due.lines.pop_front();
            assert_eq!(next.as_ref(), Some(said));
            driver.wrote(said.to_string().as_bytes());
        } else if let Some(option) = record.get("answer") {
            let question = due.questions.last().expect("a question").id.clone();
            driver.answer(&question, option.as_str().expect("an option"));
        } else {
            driver.interrupt();
        }
        due.collect(&mut *driver);
    }
    assert!(due.lines.is_empty(), "{:?}", due.lines);
    updates.dedup();
    Had {
        questions: due.questions,
        closed: due.closed,
        seen: driver.observation().clone(),
        updates,
    }
}

/// An update in a few words.
fn short(update: &crate::agents::Update) -> String {
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

#[test]
fn print_openings() {
    for name in ["claude", "codex", "gemini"] {
        let mut driver = agent(name)
            .driver(&asking("hello", None))
            .expect("it can be talked with");
        for effect in driver.effects() {
            if let Effect::Write(line) = effect {
                println!("{name} {}", String::from_utf8_lossy(&line));
            }
        }
    }
    let _ = (json!(1), Cause::Auth, StopReason::EndTurn);
}
