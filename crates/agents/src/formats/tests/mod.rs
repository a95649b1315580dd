//! What the translators make of recorded streams, and what holds for all of them.
//!
//! The recordings are in `tests/agents/recorded`, the expected updates in `tests/agents/updates`. After an intended change:
//! `UPDATE_GOLDEN=1 cargo test -p promptd-agents golden`, and read the difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::NAMED;
use super::claude::CLAUDE_STREAM_JSON;
use super::codex_json::CODEX_JSON;
use super::format::Format;
use super::gemini_stream_json::GEMINI_STREAM_JSON;
use crate::tests::observe;
use crate::{Translator, Update, find};
use promptd_model::Usage;

mod claude;
mod codex;
mod copilot;
mod droid;
mod gemini;
mod opencode;
mod pi;
mod qwen;
mod shapes;
mod transcript;

/// How many characters of a raw line are in the expected files.
const RAW_SHOWN: usize = 90;

fn translator(format: &Format) -> Box<dyn Translator> {
    (format.translator.expect("the format has a translator"))()
}

/// Checks a turn and its follow-up of an agent whose usage is a sum over all turns.
fn assert_cumulative_usage(agent: &str, first: &str, next: &str) {
    let seen = observe(agent, first);
    let event = seen.final_event.unwrap();
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    let usage = Usage {
        input_tokens: Some(110),
        output_tokens: Some(7),
        cached_tokens: Some(30),
        cost_usd: None,
    };
    assert_eq!(event.usage, usage);
    let next = observe(agent, next);
    assert_eq!(next.agent_session_id, seen.agent_session_id);
    assert_eq!(next.final_event.unwrap().usage.since(usage), usage);
    let format = find(agent).unwrap().format;
    assert!(format.usage_is_cumulative);
    let updates = updates(format, first);
    let update = updates.iter().find(|update| update["sessionUpdate"] == "usage_update");
    assert_eq!(update.unwrap()["_meta"]["cumulative"], true);
}

/// Checks an interrupted turn whose session can be resumed.
fn assert_resumable(agent: &str, interrupted: &str) {
    let seen = observe(agent, interrupted);
    assert!(seen.agent_session_id.is_some() && seen.final_event.is_none());
}

/// The updates of a stream, as JSON.
fn updates(format: &Format, stream: &str) -> Vec<Value> {
    let mut translator = translator(format);
    let lines = stream.lines();
    let updates = lines.flat_map(|line| translate(&mut *translator, line.as_bytes()));
    updates.collect()
}

fn translate(translator: &mut dyn Translator, line: &[u8]) -> Vec<Value> {
    let updates = translator
        .translate_line(line)
        .unwrap_or_else(|| vec![Update::raw(line)]);
    let json = updates.iter().map(|update| serde_json::to_value(update).unwrap());
    json.collect()
}

/// The text of all chunks of one kind that are not from a subagent.
fn text(updates: &[Value], kind: &str) -> String {
    let own = updates.iter().filter(|update| update.get("_meta").is_none());
    let chunks = own.filter(|update| update["sessionUpdate"] == kind);
    chunks.map(|chunk| chunk["content"]["text"].as_str().unwrap()).collect()
}

fn agents_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/agents")
}

/// All recordings of these agents without a dialog: name and text.
fn recordings(agents: &[&str]) -> Vec<(String, String)> {
    let all = agents.iter().flat_map(|agent| recordings_of(agent, false));
    all.collect()
}

/// All recordings of an agent: of its dialogs, or of its other turns.
fn recordings_of(agent: &str, is_dialog: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(agents_folder().join("recorded")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // `NAME-ask-…` are dialogs, which have formats of their own.
        if name.split('-').next() == Some(agent) && name.contains("-ask") == is_dialog {
            found.push((name, std::fs::read_to_string(path).unwrap()));
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
        for mut update in translate(&mut *translator, line.as_bytes()) {
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
fn golden_updates_of_claude() {
    compare(&CLAUDE_STREAM_JSON, &["claude"]);
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
fn recordings_give_valid_acp_with_paired_tool_calls() {
    let formats: [(&Format, &[&str]); 3] = [
        (&CLAUDE_STREAM_JSON, &["claude"]),
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
    let streams = recordings(&["claude", "codex", "gemini"]);
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

fn collect_pointers(value: &Value, at: String, found: &mut Vec<String>) {
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
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_output_makes_a_translator_panic(
        lines in prop::collection::vec(prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..100)], 0..20)
    ) {
        for format in NAMED {
            let (Some(new), observer) = (format.translator, format.observer) else { continue };
            let mut translator = new();
            let mut observer = observer.map(|new| new());
            for line in &lines {
                for update in translator.translate_line(line).into_iter().flatten() {
                    prop_assert!(serde_json::to_string(&update).is_ok());
                }
                if let Some(observer) = &mut observer {
                    observer.observe_line(promptd_model::Stream::Stdout, line);
                }
            }
        }
    }
}
