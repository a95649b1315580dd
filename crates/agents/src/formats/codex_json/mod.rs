//! The output of Codex, as seen with 0.169.0: `codex exec --json`.
//!
//! What is not obvious about the stream:
//! - `turn.completed` and `turn.failed` are final; an `error` event is not (it says "Reconnecting… 1/5" too), and an
//!   item of type `error` is only a warning.
//! - SIGINT ends the stream without a word, exit code 1.
//! - `usage` counts over all turns of a thread, and there is no cost.
//! - Texts come as a whole, when they are complete. An item can be told as completed without having been started.

mod observer;
mod updates;

use serde::Deserialize;

use super::Format;
use promptd_model::Usage;

pub(crate) static CODEX_JSON: Format = Format {
    name: "codex-json",
    final_event: true,
    usage_is_cumulative: true,
    observer: Some(|| Box::new(observer::Reader::default())),
    translator: Some(|| Box::new(updates::Updates::default())),
};

#[derive(Deserialize)]
struct TokenCounts {
    input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl From<TokenCounts> for Usage {
    fn from(counts: TokenCounts) -> Self {
        Self {
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            cached_tokens: counts.cached_input_tokens,
            cost_usd: None,
        }
    }
}

#[cfg(test)]
mod tests;
