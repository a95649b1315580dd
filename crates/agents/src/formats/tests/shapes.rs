//! Recorded lines with one string replaced by an object, as a later version may write them: no text may be lost.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{collect_pointers, recordings_of};
use crate::{Translator, Update, built_in_agents};

/// Whether the updates contain a text, in a field or inside raw JSON.
fn contain(updates: &[Update], text: &str) -> bool {
    fn holds(value: &Value, text: &str, inside: &str) -> bool {
        match value {
            Value::String(field) => field.contains(text) || field.contains(inside),
            Value::Array(items) => items.iter().any(|item| holds(item, text, inside)),
            Value::Object(fields) => fields.values().any(|field| holds(field, text, inside)),
            _ => false,
        }
    }
    let quoted = Value::from(text).to_string();
    let inside = quoted.get(1..quoted.len() - 1).unwrap();
    let mut all = updates.iter().map(|update| serde_json::to_value(update).unwrap());
    all.any(|update| holds(&update, text, inside))
}

/// The lines of the agent in a recorded dialog, and all lines of another recording.
pub(super) fn agent_line(line: &str, is_dialog: bool) -> Option<String> {
    if !is_dialog {
        return Some(line.to_owned());
    }
    let step: Value = serde_json::from_str(line).unwrap();
    step.get("out").map(Value::to_string)
}

/// Finds where a text of this line would be lost if it had another shape.
fn find_lost(before: &dyn Translator, line: &str, found: &mut BTreeSet<String>) {
    let translate = |line: &str| dyn_clone::clone_box(before).translate_line(line.as_bytes());
    let Some(updates) = translate(line) else { return };
    let event: Value = serde_json::from_str(line).unwrap();
    let mut pointers = Vec::new();
    collect_pointers(&event, String::new(), &mut pointers);
    for pointer in pointers {
        let Some(text) = event.pointer(&pointer).and_then(Value::as_str) else {
            continue;
        };
        if text.len() < 3 || !contain(&updates, text) {
            continue;
        }
        let mut other = event.clone();
        *other.pointer_mut(&pointer).unwrap() = json!({ "new": text });
        if translate(&other.to_string()).is_some_and(|updates| !contain(&updates, text)) {
            let kind = event.get("type").or(event.get("method")).unwrap_or(&Value::Null);
            found.insert(format!("{kind} {pointer}"));
        }
    }
}

#[test]
fn a_text_in_another_shape_is_not_lost() {
    let mut found = BTreeSet::new();
    for agent in built_in_agents() {
        let formats = [
            (false, Some(agent.format)),
            (true, agent.dialog.as_ref().map(|dialog| dialog.format)),
        ];
        for (is_dialog, format) in formats {
            let Some(format) = format.filter(|format| format.translator.is_some()) else {
                continue;
            };
            let mut of_format = BTreeSet::new();
            for (_, stream) in recordings_of(agent.name, is_dialog) {
                let mut translator = format.new_translator().unwrap();
                for line in stream.lines().filter_map(|line| agent_line(line, is_dialog)) {
                    find_lost(&*translator, &line, &mut of_format);
                    translator.translate_line(line.as_bytes());
                }
            }
            found.extend(of_format.into_iter().map(|place| format!("{}: {place}", format.name)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
