//! Token counts.

use promptd_model::Usage;
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Stats {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cached: Option<u64>,
}

impl From<Stats> for Usage {
    fn from(stats: Stats) -> Self {
        Self {
            input_tokens: stats.input_tokens,
            output_tokens: stats.output_tokens,
            cached_tokens: stats.cached,
            cost_usd: None,
        }
    }
}
