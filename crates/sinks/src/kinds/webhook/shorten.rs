//! Shortens long values, so that a body is not too large for receivers.
//!
//! Standard Webhooks recommends less than 20 KB, GitHub accepts less than 64 KB: one limit serves both. Lengths are those
//! of the JSON text.

use serde_json::{Map, Value};

/// Maximum bytes of a result; the full result is in the session.
const MAX_RESULT: usize = 9_000;

/// Maximum bytes of an error.
const MAX_ERROR: usize = 3_000;

/// Maximum bytes of a list.
const MAX_LIST: usize = 2_000;

/// Maximum bytes of other texts: names, ids, paths.
const MAX_OTHER: usize = 300;

/// Shortens values that are too long, and adds `<field>_truncated` for each.
pub(super) fn shorten(data: &mut Map<String, Value>) {
    let mut cut = Vec::new();
    for (name, value) in data.iter_mut() {
        let most = match (name.as_str(), &*value) {
            ("result", _) => MAX_RESULT,
            ("error", _) => MAX_ERROR,
            (_, Value::Array(_) | Value::Object(_)) => MAX_LIST,
            _ => MAX_OTHER,
        };
        if cut_value(value, most) {
            cut.push(format!("{name}_truncated"));
        }
    }
    data.extend(cut.into_iter().map(|name| (name, Value::Bool(true))));
}

fn cut_value(value: &mut Value, most: usize) -> bool {
    match value {
        Value::String(text) => {
            let length = fitting(text, most);
            let long = length < text.len();
            text.truncate(length);
            long
        }
        Value::Array(items) => {
            let mut space = most;
            let fits = |item: &&Value| {
                let left = space.checked_sub(item.to_string().len().saturating_add(1));
                space = left.unwrap_or_default();
                left.is_some()
            };
            let count = items.iter().take_while(fits).count();
            let long = count < items.len();
            items.truncate(count);
            long
        }
        Value::Object(fields) if Value::Object(fields.clone()).to_string().len() > most => {
            fields.clear();
            true
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The length of the longest part of a text that fits, in complete characters.
fn fitting(text: &str, most: usize) -> usize {
    let mut space = most;
    for (index, character) in text.char_indices() {
        let length = match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        match space.checked_sub(length) {
            Some(left) => space = left,
            None => return index,
        }
    }
    text.len()
}
