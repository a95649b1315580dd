//! The formats of agents' output: what a stream says of a turn's end, and what it says in ACP's words.
//!
//! One file per format; several agents may share one, and a configured agent names one. Pure, like all of `agents`.

pub(super) mod acp;
pub(super) mod app_server;
mod claude_control;
pub(super) mod claude_stream_json;
mod codex_json;
mod copilot_json;
mod droid_json;
mod gemini_stream_json;
mod goose_stream_json;
mod lines;
mod opencode_json;
mod pi_json;
mod plan;
mod qwen_stream_json;
pub(super) mod tool;
#[cfg(test)]
#[path = "transcript_tests.rs"]
mod transcript;

pub(super) use acp::ACP;
pub(super) use app_server::APP_SERVER;
pub(super) use claude_control::CLAUDE_CONTROL;
pub(super) use claude_stream_json::CLAUDE_STREAM_JSON;
pub(super) use codex_json::CODEX_JSON;
pub(super) use copilot_json::COPILOT_JSON;
pub(super) use droid_json::DROID_JSON;
pub(super) use gemini_stream_json::GEMINI_STREAM_JSON;
pub(super) use goose_stream_json::GOOSE_STREAM_JSON;
pub(super) use lines::LINES;
pub(super) use opencode_json::OPENCODE_JSON;
pub(super) use pi_json::PI_JSON;
pub(super) use qwen_stream_json::QWEN_STREAM_JSON;

use super::{Observer, Translator};

/// The formats that a configuration may name.
const NAMED: [&Format; 5] = [&LINES, &CLAUDE_STREAM_JSON, &CODEX_JSON, &GEMINI_STREAM_JSON, &ACP];

/// A format of an agent's standard output.
#[derive(Debug)]
pub struct Format {
    /// The name by which a configuration asks for it.
    pub name: &'static str,
    /// Its stream ends with an event that tells how the turn went.
    pub final_event: bool,
    /// Whether [`Usage`](promptd_model::Usage) counts over all turns of the conversation, so that a turn's own is the
    /// difference to the turn before.
    pub usage_is_cumulative: bool,
    /// What reads it for the turn's end; none where only the exit code tells.
    pub(super) observer: Option<fn() -> Box<dyn Observer>>,
    /// What reads it for the callers; none where the bytes themselves are the answer.
    pub(super) translator: Option<fn() -> Box<dyn Translator>>,
}

/// A format is its name: there is one of each.
impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

impl Format {
    /// The format that a configuration names.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        NAMED.into_iter().find(|format| format.name == name)
    }

    /// All names that a configuration may use.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.into_iter().map(|format| format.name)
    }

    /// Plain text.
    #[must_use]
    pub fn lines() -> &'static Self {
        &LINES
    }

    /// An agent that writes this is talked with, whatever the permission mode.
    #[must_use]
    pub fn is_conversation(&self) -> bool {
        *self == ACP
    }
}

/// Recorded turns with a tool, one of each format that has its recordings beside it.
#[cfg(test)]
pub(super) const TOOLS: [&str; 5] = [
    copilot_json::tests::TOOL,
    droid_json::tests::TOOL,
    opencode_json::tests::TOOL,
    pi_json::tests::TOOL,
    qwen_stream_json::tests::TOOL,
];

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod shapes;
#[cfg(test)]
mod tests;
