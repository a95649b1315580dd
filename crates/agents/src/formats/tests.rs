//! What translators make of recorded streams, and what holds for all of them.
//!
//! The recordings are in `tests/agents/recorded` (of real programs) and `tests/agents/documented` (by their makers'
//! examples), what is made of them in `tests/agents/updates`. After a change that is meant:
//! `UPDATE_GOLDEN=1 cargo test --lib golden`, and read the difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::super::tests::observe;
use super::super::{Translator, Update};
use super::*;
use promptd_model::Usage;

/// How much of a line that is passed on as it is stands in the expected files.
const RAW_SHOWN: usize = 90;

pub(super) fn translator(format: &Format) -> Box<dyn Translator> {
    (format.translator.expect("the format has a translator"))()
}

/// A turn and the one after it, of an agent whose counts go over all turns: each has its answer, and took the same.
pub(super) fn count_over_the_session(agent: &str, first: &str, next: &str) {
    let seen = observe(agent, first);
    let event = seen.final_event.unwrap();
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    let took = Usage {
        input_tokens: Some(110),
        output_tokens: Some(7),
        cached_tokens: Some(30),
        cost_usd: None,
    };
    assert_eq!(event.usage, took);
    let next = observe(agent, next);
    assert_eq!(next.agent_session_id, seen.agent_session_id);
    assert_eq!(next.final_event.unwrap().usage.since(took), took);
    let format = super::super::find(agent).unwrap().format;
    assert!(format.usage_is_cumulative);
    let updates = updates(format, first);
    let usage = updates.iter().find(|update| update["sessionUpdate"] == "usage_update");
    assert_eq!(usage.unwrap()["_meta"]["cumulative"], true);
}

/// An interrupted turn that can be gone on with.
pub(super) fn has_a_session_and_no_end(agent: &str, interrupted: &str) {
    let seen = observe(agent, interrupted);
    assert!(seen.agent_session_id.is_some() && seen.final_event.is_none());
}

/// The updates of a whole stream, as JSON; what no translator knows is `_raw`.
pub(super) fn updates(format: &Format, stream: &str) -> Vec<Value> {
    let mut translator = translator(format);
    let lines = stream.lines();
    let updates = lines.flat_map(|line| translated(&mut *translator, line.as_bytes()));
    updates.collect()
}

fn translated(translator: &mut dyn Translator, line: &[u8]) -> Vec<Value> {
    let updates = translator.line(line).unwrap_or_else(|| vec![Update::raw(line)]);
    let json = updates.iter().map(|update| serde_json::to_value(update).unwrap());
    json.collect()
}

/// All text of one kind of chunk that the agent itself said.
pub(super) fn text(updates: &[Value], kind: &str) -> String {
    let own = updates.iter().filter(|update| update.get("_meta").is_none());
    let chunks = own.filter(|update| update["sessionUpdate"] == kind);
    chunks.map(|chunk| chunk["content"]["text"].as_str().unwrap()).collect()
}

fn agents_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/agents")
}

/// Every recording of these agents that are not talked with: its name and its text.
fn recordings(agents: &[&str]) -> Vec<(String, String)> {
    let all = agents.iter().flat_map(|agent| recordings_of(agent, false));
    all.collect()
}

/// Every recording of an agent: of its conversations, or of its other turns.
pub(super) fn recordings_of(agent: &str, is_conversation: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["recorded", "documented"] {
        for entry in std::fs::read_dir(agents_folder().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            // `NAME-ask-…` are conversations, which have formats of their own.
            if name.split('-').next() == Some(agent) && name.contains("-ask") == is_conversation {
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// One line per update, with the number of the line that it comes from.
fn golden(format: &Format, stream: &str) -> String {
    let mut translator = translator(format);
    let mut text = String::new();
    for (number, line) in stream.lines().enumerate() {
        for mut update in translated(&mut *translator, line.as_bytes()) {
            if let Some(Value::String(raw)) = update.get_mut("line") {
                *raw = raw.chars().take(RAW_SHOWN).collect();
            }
            writeln!(text, "{} {update}", number + 1).unwrap();
        }
    }
    text
}

fn compare(format: &Format, agents: &[&str]) {
    let all = recordings(agents);
    assert!(!all.is_empty());
    for (name, stream) in all {
        let path = agents_folder().join("updates").join(format!("{name}.txt"));
        let is = golden(format, &stream);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &is).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(is, expected, "{name}: see the head of this file");
    }
}

#[test]
fn golden_updates_of_claude_amp_and_cursor() {
    compare(&CLAUDE_STREAM_JSON, &["claude", "amp", "cursor"]);
}

#[test]
fn golden_updates_of_codex() {
    compare(&CODEX_JSON, &["codex"]);
}

#[test]
fn golden_updates_of_gemini() {
    compare(&GEMINI_STREAM_JSON, &["gemini"]);
}

#[test]
fn every_recording_gives_valid_acp_with_calls_that_begin_before_they_end() {
    let formats: [(&Format, &[&str]); 3] = [
        (&CLAUDE_STREAM_JSON, &["claude", "amp", "cursor"]),
        (&CODEX_JSON, &["codex"]),
        (&GEMINI_STREAM_JSON, &["gemini"]),
    ];
    for (format, agents) in formats {
        for (name, stream) in recordings(agents) {
            let mut open = Vec::new();
            for update in updates(format, &stream) {
                let kind = update["sessionUpdate"].as_str().unwrap();
                if kind == "_raw" {
                    continue;
                }
                let known: agent_client_protocol_schema::v1::SessionUpdate =
                    serde_json::from_value(update.clone()).unwrap();
                assert_eq!(serde_json::to_value(known).unwrap(), update, "{name}");
                match (kind, update["status"].as_str()) {
                    ("tool_call", _) => open.push(update["toolCallId"].clone()),
                    ("tool_call_update", Some("completed" | "failed")) => {
                        let at = open.iter().position(|id| *id == update["toolCallId"]);
                        open.remove(at.unwrap_or_else(|| panic!("{name}: {update}")));
                    }
                    _ => {}
                }
            }
            assert!(open.is_empty(), "{name}: {open:?}");
        }
    }
}

/// A line of some recording, with one value in it replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let streams = recordings(&["claude", "amp", "cursor", "codex", "gemini"]);
    let lines: Vec<String> = streams
        .iter()
        .flat_map(|(_, stream)| stream.lines().map(str::to_owned))
        .collect();
    let values = [
        "null",
        "true",
        "-1",
        "1e300",
        "\"\"",
        "\"x\"",
        "[]",
        "[null]",
        "[[{}]]",
        "{}",
        "{\"type\":3}",
    ];
    let value = prop::sample::select(
        values
            .map(|value| serde_json::from_str::<Value>(value).unwrap())
            .to_vec(),
    );
    (prop::sample::select(lines), any::<prop::sample::Index>(), value).prop_map(|(line, at, value)| {
        let mut event: Value = serde_json::from_str(&line).unwrap();
        let mut pointers = Vec::new();
        collect_pointers(&event, String::new(), &mut pointers);
        let pointer: &String = at.get(&pointers);
        *event.pointer_mut(pointer).unwrap() = value;
        event.to_string().into_bytes()
    })
}

pub(super) fn collect_pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, field)| collect_pointers(field, format!("{at}/{}", key.replace('/', "~1")), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| collect_pointers(item, format!("{at}/{index}"), found)),
        _ => {}
    }
    found.push(at);
}

proptest! {
    #[test]
    fn no_output_makes_a_translator_panic_or_say_what_cannot_be_written(
        lines in prop::collection::vec(prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..100)], 0..20)
    ) {
        for format in NAMED {
            let (Some(make), observer) = (format.translator, format.observer) else { continue };
            let mut translator = make();
            let mut observer = observer.map(|make| make());
            for line in &lines {
                for update in translator.line(line).into_iter().flatten() {
                    prop_assert!(serde_json::to_string(&update).is_ok());
                }
                if let Some(observer) = &mut observer {
                    observer.line(promptd_model::Stream::Stdout, line);
                }
            }
        }
    }
}
