//! What the translators make of recorded streams, and what holds for all of them.
//!
//! The recordings are in `tests/agents/recorded`, the expected updates in `tests/agents/updates`. After an intended change:
//! `UPDATE_GOLDEN=1 cargo test -p promptd-agents golden`, and read the difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::format::Format;
use crate::output::observer::TEXT_LIMIT;
use crate::{Translator, Update, built_in_agents};
use promptd_model::Stream;

mod attempts;
mod claude;
mod codex;
mod gemini;
mod generated;
mod recordings;
mod schema;
mod shapes;
mod special_cases;

/// How many characters of a raw line are in the expected files.
const RAW_SHOWN: usize = 90;

fn translator(format: &Format) -> Box<dyn Translator> {
    format.new_translator().expect("the format has a translator")
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

/// The agents with a format, and their recordings without a dialog.
fn all_recordings() -> Vec<(&'static Format, String, String)> {
    let agents = built_in_agents().filter(|agent| agent.format.translator.is_some());
    let all = agents.flat_map(|agent| {
        let recordings = recordings_of(agent.name, false).into_iter();
        recordings.map(|(name, stream)| (agent.format, name, stream))
    });
    all.collect()
}

#[test]
fn golden_updates() {
    for (format, name, stream) in all_recordings() {
        let path = agents_folder().join("updates").join(format!("{name}.txt"));
        let updates = golden(format, &stream);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &updates).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(updates, expected, "{name}: see the head of this file");
    }
}

#[test]
fn recordings_give_valid_acp_with_paired_tool_calls() {
    for (format, name, stream) in all_recordings() {
        let mut open = Vec::new();
        for update in updates(format, &stream) {
            let kind = update["sessionUpdate"].as_str().unwrap();
            if kind.starts_with('_') {
                continue;
            }
            let known: agent_client_protocol_schema::v1::SessionUpdate =
                serde_json::from_value(update.clone()).unwrap();
            assert_eq!(serde_json::to_value(known).unwrap(), update, "{name}");
            match (kind, update["status"].as_str()) {
                // The default of ACP is `pending`.
                ("tool_call", None | Some("in_progress")) => open.push(update["toolCallId"].clone()),
                ("tool_call_update", Some("completed" | "failed")) => {
                    let at = open.iter().position(|id| *id == update["toolCallId"]);
                    open.remove(at.unwrap_or_else(|| panic!("{name}: {update}")));
                }
                _ => {}
            }
        }
        assert!(open.is_empty() || name.ends_with("-interrupt"), "{name}: {open:?}");
    }
}

/// A line of some recording, with one value in it replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<String> = all_recordings()
        .iter()
        .flat_map(|(_, _, stream)| stream.lines().map(str::to_owned))
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

/// A line like an event of some agent, with unusual values.
fn event_like() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![
        "system",
        "result",
        "assistant",
        "thread.started",
        "turn.completed",
        "turn.failed",
        "item.completed",
        "error",
        "init",
        "message",
        "tool_use",
        "text",
        "step_finish",
        "completion",
        "reasoning",
        "tool_result",
        "assistant.message",
        "session.error",
        "tool.execution_complete",
        "message_update",
        "message_end",
        "agent_end",
        "complete",
    ]);
    let key = prop::sample::select(vec![
        "subtype",
        "session_id",
        "thread_id",
        "is_error",
        "result",
        "errors",
        "stop_reason",
        "error",
        "item",
        "usage",
        "stats",
        "message",
        "content",
        "role",
        "status",
        "model_usage_since_last_result",
        "api_error_status",
        "part",
        "data",
        "exitCode",
        "sessionId",
        "assistantMessageEvent",
        "isError",
        "value",
    ]);
    let value = prop::sample::select(vec![
        "null",
        "true",
        "-1",
        "1e400",
        "18446744073709551616",
        "\"\"",
        "\"success\"",
        "\"\\ud800\"",
        "[]",
        "[[{}]]",
        "{}",
        "{\"type\":3}",
        "{\"message\":null}",
        "{\"input_tokens\":-5}",
        "{\"m\":{\"costUSD\":\"x\"}}",
    ]);
    (kind, prop::collection::vec((key, value), 0..6)).prop_map(|(kind, fields)| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!(",\"{key}\":{value}"))
            .collect();
        let fields = fields.concat();
        format!("{{\"type\":\"{kind}\"{fields}}}").into_bytes()
    })
}

/// A recorded line with one byte changed and its end removed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let lines = all_recordings();
    let lines = lines
        .iter()
        .flat_map(|(_, _, stream)| stream.lines().map(str::to_owned));
    (
        prop::sample::select(lines.collect::<Vec<_>>()),
        any::<prop::sample::Index>(),
        any::<u8>(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(line, at, byte, end)| {
            let mut bytes = line.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(end.index(bytes.len()));
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_output_harms_an_observer_or_a_translator(
        lines in prop::collection::vec(
            prop_oneof![mutated(), event_like(), damaged(), prop::collection::vec(any::<u8>(), 0..100)], 0..20)
    ) {
        for agent in built_in_agents() {
            let (Some(mut translator), Some(mut observer)) =
                (agent.format.new_translator(), agent.format.new_observer()) else { continue };
            for line in &lines {
                for update in translator.translate_line(line).into_iter().flatten() {
                    prop_assert!(serde_json::to_string(&update).is_ok());
                }
                observer.observe_line(Stream::Stdout, line);
                observer.observe_line(Stream::Stderr, line);
                prop_assert!(!observer.observation().last_line_known);
            }
            if let Some(event) = &observer.observation().final_event {
                let text = event.result.as_ref().or(event.error.as_ref());
                prop_assert!(text.map_or(0, String::len) <= TEXT_LIMIT);
            }
        }
    }
}
