//! The output of Claude Code, as seen with 2.1.329: `claude -p` with its stream of JSON lines. Others write it, too.
//!
//! What is not obvious about the stream:
//! - `result` ends a turn, but with a background task running another answer and another `result` follow.
//! - `is_error` decides, or a `subtype` of `error_…`; that is `success` even where the API refused the request.
//! - SIGINT gives exit code 0 and a `result` with `terminal_reason` `aborted_…`.
//! - `total_cost_usd` counts over all turns of a session, but leaves out what interrupted turns cost; `usage` leaves out
//!   interrupted answers and subagents. `model_usage_since_last_result` has all of it, for this turn alone. Amp and
//!   Cursor have `usage` at most.
//! - With partial messages, one `assistant` line per block comes behind that block's pieces and before its end. Without
//!   them, and always from a subagent, it is all there is.
//! - A subagent's lines name the call they work for in `parent_tool_use_id`, and may stand between the agent's own.

mod cursor;
mod observer;
mod updates;

pub(crate) use observer::Reader;
pub(crate) use updates::Updates;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::super::observe::lenient;
use super::Format;
use promptd_model::Usage;

pub(crate) static CLAUDE_STREAM_JSON: Format = Format {
    name: "claude-stream-json",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Updates::default())),
};

#[derive(Deserialize)]
struct ResultLine<'a> {
    #[serde(borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(default)]
    is_error: bool,
    #[serde(borrow)]
    result: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient")]
    errors: Vec<String>,
    /// Amp's only words for what went wrong.
    #[serde(default, deserialize_with = "lenient")]
    error: Option<String>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    terminal_reason: Option<Cow<'a, str>>,
    api_error_status: Option<u16>,
    /// What each model took.
    #[serde(default, deserialize_with = "lenient")]
    model_usage_since_last_result: Option<HashMap<String, ModelUsage>>,
    /// For the models' windows only: it counts over all turns of a session.
    #[serde(default, deserialize_with = "lenient", rename = "modelUsage")]
    model_usage: HashMap<String, ModelUsage>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Counts>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ModelUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
    #[serde(rename = "costUSD")]
    cost_usd: Option<f64>,
    context_window: u64,
}

/// In Claude's words and in Cursor's.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    #[serde(alias = "inputTokens")]
    input_tokens: u64,
    #[serde(alias = "outputTokens")]
    output_tokens: u64,
    #[serde(alias = "cacheReadTokens")]
    cache_read_input_tokens: u64,
    #[serde(alias = "cacheWriteTokens")]
    cache_creation_input_tokens: u64,
}

impl ResultLine<'_> {
    /// Whether the turn failed.
    fn is_failure(&self) -> bool {
        self.is_error
            || self
                .subtype
                .as_deref()
                .is_some_and(|subtype| subtype.starts_with("error"))
    }

    /// What came on top since the last `result`.
    fn usage(&self) -> Usage {
        match (&self.model_usage_since_last_result, &self.usage) {
            (Some(models), _) => models
                .values()
                .map(ModelUsage::usage)
                .fold(Usage::default(), Usage::plus),
            (None, Some(counts)) => counts.usage(),
            (None, None) => Usage::default(),
        }
    }

    /// The window of the largest model, in tokens; 0 where it is not said.
    fn context_window(&self) -> u64 {
        let windows = self.model_usage.values().map(|model| model.context_window);
        windows.max().unwrap_or(0)
    }
}

impl ModelUsage {
    fn usage(&self) -> Usage {
        let counts = Counts {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cache_read_input_tokens: self.cache_read_input_tokens,
            cache_creation_input_tokens: self.cache_creation_input_tokens,
        };
        Usage {
            cost_usd: self.cost_usd,
            ..counts.usage()
        }
    }
}

impl Counts {
    /// Anthropic counts cached input apart; in [`Usage`] it is a part of the input, as with the other vendors.
    fn usage(&self) -> Usage {
        let input = self.input_tokens.saturating_add(self.cache_read_input_tokens);
        Usage {
            input_tokens: Some(input.saturating_add(self.cache_creation_input_tokens)),
            output_tokens: Some(self.output_tokens),
            cached_tokens: Some(self.cache_read_input_tokens),
            cost_usd: None,
        }
    }
}

#[cfg(test)]
mod tests;
