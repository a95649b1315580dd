//! The formats of agents' output: what a stream says of a turn's end, and what it says in ACP's words.
//!
//! One file per format; several agents may share one, and a configured agent names one. Pure, like all of `agents`.

pub(super) mod acp;
mod claude_stream_json;
mod codex_json;
mod gemini_stream_json;
mod lines;

pub(super) use acp::ACP;
pub(super) use claude_stream_json::CLAUDE_STREAM_JSON;
pub(super) use codex_json::CODEX_JSON;
pub(super) use gemini_stream_json::GEMINI_STREAM_JSON;
pub(super) use lines::LINES;

use super::{Observer, Translator};

/// A format of an agent's standard output.
#[derive(Debug)]
pub struct Format {
    /// The name by which a configuration asks for it.
    pub name: &'static str,
    /// Its stream ends with an event that tells how the turn went.
    pub final_event: bool,
    /// Whether [`Usage`](crate::model::Usage) counts over all turns of the conversation, so that a turn's own is the
    /// difference to the turn before.
    pub usage_is_cumulative: bool,
    /// What reads it for the turn's end; none where only the exit code tells.
    pub(super) observer: Option<fn() -> Box<dyn Observer>>,
    /// What reads it for the callers; none where the bytes themselves are the answer.
    pub(super) translator: Option<fn() -> Box<dyn Translator>>,
}
