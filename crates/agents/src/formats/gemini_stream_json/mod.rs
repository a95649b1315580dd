//! The output of Gemini CLI, as seen with 0.61.0: `gemini -o stream-json`.
//!
//! What is not obvious:
//! - `result` is final and its `status` decides; the exit code is the HTTP status mod 256, or 0 after a broken stream.
//! - SIGINT ends the stream without a word, exit code 0.
//! - A missing key is said on stderr alone, exit code 41.
//! - A session can be resumed only once the model has answered; before that, its id is used up all the same.
//! - After a broken stream the pieces of the failed attempt are repeated without any mark, so they stand in the answer.
//! - `GOOGLE_GEMINI_BASE_URL` works only together with `security.auth.selectedType` in the user's own settings; we do
//!   not set that, as it would shut out Vertex AI and Google accounts.
//! - Thoughts are not in it, and a command's exit code is not either: a command that failed is a `success`.

mod observer;
mod updates;

use serde::Deserialize;

use super::Format;
use promptd_model::Usage;

pub(crate) static GEMINI_STREAM_JSON: Format = Format {
    name: "gemini-stream-json",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(observer::Reader::default())),
    translator: Some(|| Box::new(updates::Updates::default())),
};

#[derive(Deserialize)]
struct Stats {
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

#[cfg(test)]
mod tests;
