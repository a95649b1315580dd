//! The output of Claude Code, as seen with 2.1.329: `claude -p` with its stream of JSON lines.
//!
//! What is not obvious about the stream:
//! - `result` ends a turn, but with a background task running another answer and another `result` follow.
//! - `is_error` decides; `subtype` is `success` even where the API refused the request.
//! - SIGINT gives exit code 0 and a `result` with `terminal_reason` `aborted_…`.
//! - `total_cost_usd` counts over all turns of a session, but leaves out what interrupted turns cost; `usage` leaves out
//!   interrupted answers and subagents. `model_usage_since_last_result` has all of it, for this turn alone.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::super::observe::{lenient, limited};
use super::super::{Observer, cause};
use super::Format;
use crate::model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(in crate::agents) static CLAUDE_STREAM_JSON: Format = Format {
    name: "claude-stream-json",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: None,
};

#[derive(Default)]
struct Reader {
    seen: Observation,
    /// The sum over all `result`s of this turn.
    usage: Usage,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    /// Of `system/api_retry`.
    error_status: Option<u16>,
}

#[derive(Deserialize)]
struct ResultLine<'a> {
    #[serde(default)]
    is_error: bool,
    #[serde(borrow)]
    result: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient")]
    errors: Vec<String>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    terminal_reason: Option<Cow<'a, str>>,
    api_error_status: Option<u16>,
    /// What each model took.
    #[serde(default, deserialize_with = "lenient")]
    model_usage_since_last_result: HashMap<String, ModelUsage>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ModelUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
    #[serde(rename = "costUSD")]
    cost_usd: f64,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return self.seen.stderr(line);
        }
        let head = serde_json::from_slice::<Head<'_>>(line).ok();
        self.seen.last_line_known = head.is_some();
        let Some(head) = head else { return };
        match (&*head.kind, head.subtype.as_deref()) {
            ("system", Some("init")) => self.seen.agent_session_id = head.session_id.map(Cow::into_owned),
            ("system", Some("api_retry")) => {
                let message = "the model's API is being retried";
                self.seen.failure = Some((cause::tell(head.error_status, message), message.to_owned()));
            }
            ("assistant", _) => self.seen.failure = None,
            ("result", _) => {
                if let Ok(result) = serde_json::from_slice(line) {
                    self.result(&result);
                }
            }
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn result(&mut self, line: &ResultLine<'_>) {
        line.model_usage_since_last_result
            .values()
            .for_each(|model| add(&mut self.usage, model));
        let text = line.result.as_deref().map(limited);
        let (outcome, result, error) = if line.is_error {
            let error = text.unwrap_or_else(|| limited(&line.errors.join("; ")));
            (Err(cause::tell(line.api_error_status, &error)), None, Some(error))
        } else {
            (Ok(()), text, None)
        };
        let stop_reason = stop_reason(line, outcome);
        self.seen.final_event = Some(FinalEvent {
            outcome,
            stop_reason,
            result,
            error,
            usage: self.usage,
        });
    }
}

fn stop_reason(line: &ResultLine<'_>, outcome: Result<(), Cause>) -> Option<StopReason> {
    match line.terminal_reason.as_deref() {
        Some("max_turns") => return Some(StopReason::MaxTurnRequests),
        Some(reason) if reason.starts_with("aborted") => return Some(StopReason::Cancelled),
        _ => {}
    }
    match line.stop_reason.as_deref() {
        Some("max_tokens") => Some(StopReason::MaxTokens),
        Some("refusal") => Some(StopReason::Refusal),
        // The message that stands for an API error claims to have ended regularly too.
        Some("end_turn" | "stop_sequence") if outcome.is_ok() => Some(StopReason::EndTurn),
        _ => None,
    }
}

/// Anthropic counts cached input apart; in [`Usage`] it is a part of the input, as with the other vendors.
fn add(usage: &mut Usage, more: &ModelUsage) {
    let input = [
        more.input_tokens,
        more.cache_read_input_tokens,
        more.cache_creation_input_tokens,
    ];
    let sum = |total: Option<u64>, more: u64| Some(total.unwrap_or(0).saturating_add(more));
    usage.input_tokens = input.into_iter().fold(usage.input_tokens, sum);
    usage.output_tokens = sum(usage.output_tokens, more.output_tokens);
    usage.cached_tokens = sum(usage.cached_tokens, more.cache_read_input_tokens);
    usage.cost_usd = Some(usage.cost_usd.unwrap_or(0.0) + more.cost_usd);
}
