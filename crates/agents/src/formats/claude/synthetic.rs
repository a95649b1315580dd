//! Texts in the user's role that nobody has typed: claude writes them for the model.

use serde_json::Value;

/// How such texts begin, for versions that do not mark them.
const BEGINNINGS: [&str; 11] = [
    "[Request interrupted by user",
    "Your response above was cut off",
    "[Your previous response",
    "Your previous response",
    "Output token limit hit",
    "This session is being continued from a previous conversation",
    "<system-reminder>",
    "<task-notification>",
    "<local-command-",
    "<command-name>",
    "Goal check-in:",
];

/// What such a text says where the answer before it counts no more.
const STARTS_OVER: [&str; 2] = ["only your next message is delivered", "again from the start"];

/// Whether a line says that its text is claude's own.
pub(super) fn is_marked(line: &Value) -> bool {
    let is_true = |key: &str| line.get(key).and_then(Value::as_bool) == Some(true);
    ["isSynthetic", "isMeta", "isCompactSummary"].into_iter().any(is_true)
}

/// Whether it is one of the known texts.
pub(super) fn is_known(text: &str) -> bool {
    let text = text.trim_start();
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// Whether the answer before it is void: the model writes it again.
pub(super) fn starts_over(text: &str) -> bool {
    let is_about_a_cut = is_known(text) && text.contains("cut off");
    is_about_a_cut && STARTS_OVER.iter().all(|words| text.contains(words))
}
