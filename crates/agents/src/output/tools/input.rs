//! The members of a tool call's input.

use serde_json::Value;

/// The names under which vendors' tools take their file.
pub(super) const PATH_KEYS: [&str; 6] = [
    "file_path",
    "filePath",
    "path",
    "notebook_path",
    "absolute_path",
    "target_file",
];

/// The string under a key; empty if there is none.
pub(crate) fn str_at<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The string under a key; empty if the key is missing, `None` if the value is something else. Then the line has to be
/// passed on as it is, or the value would be lost.
pub(crate) fn checked_str_at<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    match object.get(key) {
        None | Some(Value::Null) => Some(""),
        Some(value) => value.as_str(),
    }
}
