//! Whether ACP's types have taken everything of what an agent wrote: they ignore fields that they do not know.

use serde::Serialize;
use serde_json::Value;

/// Whether the parsed value has everything of its source.
pub(super) fn has_all(source: &Value, parsed: &impl Serialize) -> bool {
    serde_json::to_value(parsed).is_ok_and(|parsed| is_within(source, &parsed))
}

fn is_within(source: &Value, parsed: &Value) -> bool {
    match (source, parsed) {
        (Value::Object(fields), _) => fields.iter().all(|(name, field)| match parsed.get(name) {
            Some(parsed) => is_within(field, parsed),
            None => is_default(name, field),
        }),
        (Value::Array(items), Value::Array(parsed)) => {
            items.len() == parsed.len() && items.iter().zip(parsed).all(|(item, parsed)| is_within(item, parsed))
        }
        (Value::Number(number), Value::Number(parsed)) => number.as_f64() == parsed.as_f64(),
        _ => source == parsed,
    }
}

/// Whether ACP assumes this value for a missing field.
fn is_default(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(word) => matches!((name, word.as_str()), ("status", "pending") | ("kind", "other")),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
