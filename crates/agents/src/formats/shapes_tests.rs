//! What a vendor writes tomorrow: the same lines with one text in another shape.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{Translator, Update, known};
use super::tests::{collect_pointers, recordings_of};

/// Whether a text is told, in a field of its own or as it stands in JSON.
fn is_told(updates: &[Update], text: &str) -> bool {
    fn holds(value: &Value, text: &str, inside: &str) -> bool {
        match value {
            Value::String(told) => told.contains(text) || told.contains(inside),
            Value::Array(items) => items.iter().any(|item| holds(item, text, inside)),
            Value::Object(fields) => fields.values().any(|field| holds(field, text, inside)),
            _ => false,
        }
    }
    let quoted = Value::from(text).to_string();
    let inside = quoted.get(1..quoted.len() - 1).unwrap();
    let mut told = updates.iter().map(|update| serde_json::to_value(update).unwrap());
    told.any(|update| holds(&update, text, inside))
}

/// What the agent wrote in a recorded conversation, and all lines of another recording.
fn said(line: &str, is_conversation: bool) -> Option<String> {
    if !is_conversation {
        return Some(line.to_owned());
    }
    let step: Value = serde_json::from_str(line).unwrap();
    step.get("out").map(Value::to_string)
}

/// Where a text that is told of this line would be lost if it came in another shape.
fn lost(before: &dyn Translator, line: &str, found: &mut BTreeSet<String>) {
    let told = |line: &str| dyn_clone::clone_box(before).line(line.as_bytes());
    let Some(updates) = told(line) else { return };
    let event: Value = serde_json::from_str(line).unwrap();
    let mut pointers = Vec::new();
    collect_pointers(&event, String::new(), &mut pointers);
    for pointer in pointers {
        let Some(text) = event.pointer(&pointer).and_then(Value::as_str) else {
            continue;
        };
        if text.len() < 3 || !is_told(&updates, text) {
            continue;
        }
        let mut other = event.clone();
        *other.pointer_mut(&pointer).unwrap() = json!({ "new": text });
        if told(&other.to_string()).is_some_and(|updates| !is_told(&updates, text)) {
            let kind = event.get("type").or(event.get("method")).unwrap_or(&Value::Null);
            found.insert(format!("{kind} {pointer}"));
        }
    }
}

#[test]
fn a_text_that_comes_in_another_shape_is_told_all_the_same() {
    let mut found = BTreeSet::new();
    for known in known() {
        let formats = [
            (false, Some(known.format)),
            (
                true,
                known.conversation.as_ref().map(|conversation| conversation.format),
            ),
        ];
        for (is_conversation, format) in formats {
            let Some((format, make)) = format.and_then(|format| Some((format, format.translator?))) else {
                continue;
            };
            let mut of_format = BTreeSet::new();
            for (_, stream) in recordings_of(known.name, is_conversation) {
                let mut translator = make();
                for line in stream.lines().filter_map(|line| said(line, is_conversation)) {
                    lost(&*translator, &line, &mut of_format);
                    translator.line(line.as_bytes());
                }
            }
            found.extend(of_format.into_iter().map(|place| format!("{}: {place}", format.name)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
