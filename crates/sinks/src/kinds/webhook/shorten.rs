//! Long words made short, so that a body stays within what receivers take.
//!
//! Standard Webhooks recommends less than 20 KB, GitHub takes less than 64 KB: one limit serves both. Lengths are
//! counted as they will stand in the JSON text.

use serde_json::{Map, Value};

/// The most bytes of a result; the whole of it is in the session.
const RESULT: usize = 9_000;

/// The most bytes of an error.
const ERROR: usize = 3_000;

/// The most bytes of a list.
const LIST: usize = 2_000;

/// The most bytes of any other text: names, ids, paths.
const OTHER: usize = 300;

/// Cuts what is too long; `<field>_truncated` says so.
pub(super) fn shorten(data: &mut Map<String, Value>) {
    let mut cut = Vec::new();
    for (name, value) in data.iter_mut() {
        let most = match (name.as_str(), &*value) {
            ("result", _) => RESULT,
            ("error", _) => ERROR,
            (_, Value::Array(_) | Value::Object(_)) => LIST,
            _ => OTHER,
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
            let mut room = most;
            let fits = |item: &&Value| {
                let left = room.checked_sub(item.to_string().len().saturating_add(1));
                room = left.unwrap_or_default();
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

/// How many bytes of a text fit, whole characters only.
fn fitting(text: &str, most: usize) -> usize {
    let mut room = most;
    for (place, character) in text.char_indices() {
        let length = match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        match room.checked_sub(length) {
            Some(left) => room = left,
            None => return place,
        }
    }
    text.len()
}
