//! What the runtime learns from an agent's output, in the same words for every agent.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::cause;
use promptd_model::{Cause, Observation, Stream};

/// Reads one turn of one agent, line by line, in order.
pub trait Observer: Send {
    /// Takes one line, without its newline. Any bytes will do.
    fn line(&mut self, stream: Stream, line: &[u8]);
    /// What is known so far.
    fn observation(&self) -> &Observation;
}

/// The most that is kept of an answer's text: a record has to carry it, and the whole is in the journal anyway.
pub(super) const TEXT_LIMIT: usize = 1 << 20;

/// Keeps a line of stderr that tells why the agent gave up. A line that names a cause beats one that only says
/// "Error"; among equals the first one is nearest to the reason.
pub(super) fn keep_stderr(seen: &mut Observation, line: &[u8]) {
    seen.last_line_known = false;
    let line = String::from_utf8_lossy(line.get(..STDERR_LIMIT).unwrap_or(line));
    let cause = cause::tell(None, &line);
    let is_better = match &seen.failure {
        None => cause != Cause::AgentError || line.trim_start().starts_with("Error"),
        Some((known, _)) => *known == Cause::AgentError && cause != Cause::AgentError,
    };
    if is_better {
        seen.failure = Some((cause, line.trim().to_owned()));
    }
}

/// How much of a line on stderr is looked at: reasons are sentences, dumps are not.
const STDERR_LIMIT: usize = 4096;

/// For parts of an event that are good to have: one of an unexpected shape must not cost the event.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(source: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(source)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Appends as much of `more` as [`TEXT_LIMIT`] leaves room for, never half a character.
pub(super) fn push_text(text: &mut String, more: &str) {
    let room = TEXT_LIMIT.saturating_sub(text.len());
    let end = (0..=room.min(more.len()))
        .rev()
        .find(|end| more.is_char_boundary(*end))
        .unwrap_or(0);
    text.push_str(more.get(..end).unwrap_or_default());
}

/// An owned text of at most [`TEXT_LIMIT`] bytes.
pub(super) fn limited(text: &str) -> String {
    let mut kept = String::new();
    push_text(&mut kept, text);
    kept
}
