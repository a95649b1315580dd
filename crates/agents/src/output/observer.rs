//! What the runtime learns from an agent's output: the same facts for every agent.

use serde::de::Deserialize;

use super::cause;
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

/// Reads one turn of one agent, line by line, in order.
pub trait Observer: Send {
    /// Takes one line, without its newline. Any bytes will do.
    fn observe_line(&mut self, stream: Stream, line: &[u8]);
    /// What is known so far.
    fn observation(&self) -> &Observation;
}

/// The most that is kept of an answer's text: a record has to carry it, and the journal has all of it.
pub(crate) const TEXT_LIMIT: usize = 1 << 20;

/// Keeps a line of stderr with the reason why the agent failed. A line with a known cause replaces one that only says "Error".
/// Of two equal lines the first one is kept: it is nearer to the reason.
pub(crate) fn keep_stderr(seen: &mut Observation, line: &[u8]) {
    seen.last_line_known = false;
    let line = String::from_utf8_lossy(line.get(..STDERR_LIMIT).unwrap_or(line));
    let cause = cause::classify(None, &line);
    if cause != Cause::AgentError && is_retry(&line) {
        return seen.note_retry(cause, line.trim().to_owned());
    }
    let is_better = match &seen.failure {
        None => cause != Cause::AgentError || line.trim_start().starts_with("Error"),
        Some((known, _)) => *known == Cause::AgentError && cause != Cause::AgentError,
    };
    if is_better {
        seen.failure = Some((cause, line.trim().to_owned()));
    }
}

/// Whether a line says that a request failed and is tried again, such as gemini's `Attempt 1 failed with status 401.
/// Retrying with backoff...`
fn is_retry(line: &str) -> bool {
    let lower = line.to_lowercase();
    let words = ["retrying", "will retry", "reconnecting", "trying again", "retry in "];
    words.iter().any(|words| lower.contains(words))
}

/// Reads an event of standard output. `None` for other lines; those of stderr are kept as a possible failure.
pub(crate) fn parse_event<'a, E: Deserialize<'a>>(seen: &mut Observation, stream: Stream, line: &'a [u8]) -> Option<E> {
    if stream == Stream::Stderr {
        keep_stderr(seen, line);
        return None;
    }
    let event = serde_json::from_slice(line).ok();
    seen.last_line_known = event.is_some();
    event
}

/// How much of a line on stderr is read: reasons are sentences, longer lines are dumps.
const STDERR_LIMIT: usize = 4096;

/// Appends as much of `more` as [`TEXT_LIMIT`] allows, and whole characters only.
pub(crate) fn push_text(text: &mut String, more: &str) {
    let room = TEXT_LIMIT.saturating_sub(text.len());
    let end = (0..=room.min(more.len()))
        .rev()
        .find(|end| more.is_char_boundary(*end))
        .unwrap_or(0);
    text.push_str(more.get(..end).unwrap_or_default());
}

/// An owned text of at most [`TEXT_LIMIT`] bytes.
pub(crate) fn limited(text: &str) -> String {
    let mut kept = String::new();
    push_text(&mut kept, text);
    kept
}

/// The end of a turn that went well.
pub(crate) fn success(stop_reason: StopReason, result: Option<String>, usage: Usage) -> FinalEvent {
    FinalEvent {
        outcome: Ok(()),
        stop_reason: Some(stop_reason),
        result,
        error: None,
        usage,
    }
}

/// The end of a turn that failed.
pub(crate) fn failure(cause: Cause, error: String, usage: Usage) -> FinalEvent {
    FinalEvent {
        outcome: Err(cause),
        stop_reason: None,
        result: None,
        error: Some(error),
        usage,
    }
}
