//! Token counts.

use promptd_model::Usage;
use serde::Deserialize;

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
