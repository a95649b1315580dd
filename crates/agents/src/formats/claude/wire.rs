//! The `result` line, which ends a turn, and what the turn used.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::output::lines::lenient::{default_on_error, text_or_none};
use crate::output::usage::total;
use promptd_model::Usage;

#[derive(Deserialize)]
pub(crate) struct ResultLine<'a> {
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub(crate) subtype: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
    is_error: bool,
    /// How many answers of the model it is about.
    #[serde(default, deserialize_with = "default_on_error")]
    num_turns: Option<u64>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub(crate) result: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
    pub(crate) errors: Vec<String>,
    /// The reason of a failure, from programs other than claude.
    #[serde(default, deserialize_with = "default_on_error")]
    pub(crate) error: Option<String>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub(crate) stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub(crate) terminal_reason: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "default_on_error")]
    pub(crate) api_error_status: Option<u16>,
    /// The usage of each model.
    #[serde(default, deserialize_with = "default_on_error")]
    model_usage_since_last_result: Option<HashMap<String, ModelUsage>>,
    /// For the models' context windows only: its counts are sums over all turns of a session.
    #[serde(default, deserialize_with = "default_on_error", rename = "modelUsage")]
    model_usage: HashMap<String, ModelUsage>,
    #[serde(default, deserialize_with = "default_on_error")]
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

/// The tokens of a request, or of several.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
pub(crate) struct Counts {
    // The second names are those of agents that imitate this format, such as cursor.
    #[serde(alias = "inputTokens", deserialize_with = "default_on_error")]
    input_tokens: u64,
    #[serde(alias = "outputTokens", deserialize_with = "default_on_error")]
    output_tokens: u64,
    #[serde(alias = "cacheReadTokens", deserialize_with = "default_on_error")]
    cache_read_input_tokens: u64,
    #[serde(alias = "cacheWriteTokens", deserialize_with = "default_on_error")]
    cache_creation_input_tokens: u64,
}

impl ResultLine<'_> {
    /// Whether the turn failed.
    pub(crate) fn is_failure(&self) -> bool {
        self.is_error
            || self
                .subtype
                .as_deref()
                .is_some_and(|subtype| subtype.starts_with("error"))
    }

    /// Whether no request to the model belongs to it.
    pub(crate) fn is_about_nothing(&self) -> bool {
        self.num_turns == Some(0)
    }

    /// Whether the work of the turn goes on after it, and another `result` follows.
    pub(crate) fn goes_on_in_background(&self) -> bool {
        self.terminal_reason.as_deref() == Some("background_requested")
    }

    /// The usage since the last `result`.
    pub(crate) fn usage(&self) -> Usage {
        match (&self.model_usage_since_last_result, &self.usage) {
            (Some(models), _) => models
                .values()
                .map(ModelUsage::usage)
                .fold(Usage::default(), Usage::plus),
            (None, Some(counts)) => counts.usage(),
            (None, None) => Usage::default(),
        }
    }

    /// The largest context window of the models, in tokens; 0 if it is not reported.
    pub(crate) fn context_window(&self) -> u64 {
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
    /// The tokens of one request; `None` if there are none.
    pub(crate) fn of(usage: &Value) -> Option<Self> {
        let counts: Self = serde_json::from_value(usage.clone()).ok()?;
        (counts.total() > 0).then_some(counts)
    }

    /// These counts; those of an earlier event of the same request where they are missing.
    pub(crate) fn or(self, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        let or = |new: u64, old: u64| if new == 0 { old } else { new };
        Self {
            input_tokens: or(self.input_tokens, before.input_tokens),
            output_tokens: or(self.output_tokens, before.output_tokens),
            cache_read_input_tokens: or(self.cache_read_input_tokens, before.cache_read_input_tokens),
            cache_creation_input_tokens: or(self.cache_creation_input_tokens, before.cache_creation_input_tokens),
        }
    }

    /// Whether they are of the same request, at a later moment.
    pub(crate) fn is_more_than(&self, other: &Self) -> bool {
        self.output_tokens >= other.output_tokens
            && self.total().saturating_sub(self.output_tokens) == other.total().saturating_sub(other.output_tokens)
    }

    /// All tokens.
    pub(crate) fn total(&self) -> u64 {
        total(&self.usage())
    }

    /// All tokens, if those from the cache are in the input, too.
    pub(crate) fn total_without_cache(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Anthropic counts cached input separately. In [`Usage`] it is a part of the input, as with the other vendors.
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
