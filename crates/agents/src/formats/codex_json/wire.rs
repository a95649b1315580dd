//! Token counts, and what codex says about a request that it makes again.

use promptd_model::Usage;
use serde::Deserialize;

use crate::output::session::Retry;
use crate::output::update::Update;

#[derive(Deserialize)]
pub(crate) struct TokenCounts {
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

/// `Reconnecting... 2/5 (stream disconnected before completion)`; `None` for an error that ends the turn.
pub(crate) fn retry(message: &str) -> Option<Update> {
    let rest = message
        .strip_prefix("Reconnecting")?
        .trim_start_matches(['.', '…', ' ']);
    let (numbers, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let (attempt, max) = numbers.split_once('/').unwrap_or((numbers, ""));
    let reason = reason.trim_matches(['(', ')', ' ']);
    let retry = Retry {
        attempt: attempt.parse().ok(),
        max_attempts: max.parse().ok(),
        error: if reason.is_empty() { message } else { reason },
        ..Retry::default()
    };
    Some(retry.update())
}
