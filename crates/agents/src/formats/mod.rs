//! The formats of agents' output, one file or folder each.
//!
//! Owns for each format an [`Observer`](crate::Observer), which knows how the turn ended, and a
//! [`Translator`](crate::Translator), which turns each line into ACP updates. Several agents may share a format, and a
//! configured agent names one.
//!
//! Promises that a line that no translator knows is kept as it is, and that a detail of an unexpected shape does not cost
//! the rest of its event.
//!
//! May use `output` only.

pub(crate) mod acp;
pub(crate) mod app_server;
pub(crate) mod claude;
pub(crate) mod codex_json;
pub(crate) mod copilot_json;
pub(crate) mod droid_json;
pub(crate) mod format;
pub(crate) mod gemini_stream_json;
pub(crate) mod lines;
pub(crate) mod opencode_json;
pub(crate) mod pi_json;
pub(crate) mod qwen_stream_json;

use format::Format;

/// The formats that a configuration may name.
const NAMED: [&Format; 5] = [
    &lines::LINES,
    &claude::CLAUDE_STREAM_JSON,
    &codex_json::CODEX_JSON,
    &gemini_stream_json::GEMINI_STREAM_JSON,
    &acp::ACP,
];

impl Format {
    /// The format that a configuration names.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        NAMED.into_iter().find(|format| format.name == name)
    }

    /// The format with this name, also one that only a dialog has.
    pub(crate) fn written(name: &str) -> Option<&'static Self> {
        const OF_DIALOGS: [&Format; 2] = [&claude::CLAUDE_CONTROL, &app_server::APP_SERVER];
        let mut formats = NAMED.into_iter().chain(OF_DIALOGS);
        formats.find(|format| format.name == name)
    }

    /// All names that a configuration may use.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.into_iter().map(|format| format.name)
    }

    /// Plain text.
    #[must_use]
    pub fn lines() -> &'static Self {
        &lines::LINES
    }
}

#[cfg(test)]
mod tests;
