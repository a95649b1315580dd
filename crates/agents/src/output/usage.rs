//! Tokens and cost, as ACP defines them (`usage_update`): how full the context is, and the session's cost so far.

use agent_client_protocol_schema::v1::{Cost, Meta, SessionUpdate, UsageUpdate};
use serde::{Serialize, Serializer};
use serde_json::json;

use promptd_model::Usage;

/// What an agent reports, before it is known what the turns before have used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsageReport {
    /// The turn's counts so far.
    pub(crate) counts: Usage,
    /// The counts are of all turns of the conversation.
    pub(crate) is_cumulative: bool,
    /// How full the context is.
    pub(crate) context: Context,
    /// The size of the context in tokens; 0 if the agent does not report it.
    pub(crate) window: u64,
    pub(crate) earlier: Earlier,
}

/// How full the context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// So many tokens.
    Tokens(u64),
    /// As many tokens as the turn has used: it has made one request.
    OneRequest,
    /// The agent reports sums over several requests only.
    Unknown,
}

/// What the turns before have used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Earlier {
    /// In the same conversation.
    pub(crate) conversation: Usage,
    /// The cost of the session.
    pub(crate) cost_usd: Option<f64>,
    /// A turn before has ended without a report: what it has used is in the next sum, and cannot be told from it.
    pub(crate) has_unknown: bool,
}

/// A report on the wire.
pub(crate) enum UsageOnWire {
    Acp(Box<SessionUpdate>),
    /// ACP's update needs the tokens in the context, which the agent does not report.
    Turn(Usage),
}

impl UsageReport {
    /// The turn's counts, with the tokens in the context.
    pub(crate) fn new(counts: Usage, context: Context, window: u64) -> Self {
        Self {
            counts,
            is_cumulative: false,
            context,
            window,
            earlier: Earlier::default(),
        }
    }

    /// Counts of all turns of the conversation.
    pub(crate) fn cumulative(counts: Usage, context: Context) -> Self {
        Self {
            is_cumulative: true,
            ..Self::new(counts, context, 0)
        }
    }

    /// The update. The turn's own counts are in `_meta.usage`.
    pub(crate) fn update(&self) -> UsageOnWire {
        let earlier = self.earlier;
        let turn = if self.is_cumulative {
            self.counts.since(earlier.conversation)
        } else {
            self.counts
        };
        let used = match self.context {
            Context::Tokens(used) => used,
            Context::OneRequest if !(self.is_cumulative && earlier.has_unknown) => total(&turn),
            Context::OneRequest | Context::Unknown => return UsageOnWire::Turn(turn),
        };
        let cost = turn.cost_usd.or(earlier.cost_usd);
        let cost = cost.map(|_| turn.cost_usd.unwrap_or(0.0) + earlier.cost_usd.unwrap_or(0.0));
        let mut meta = Meta::new();
        meta.insert("usage".to_owned(), json!(turn));
        let update = UsageUpdate::new(used, self.window).meta(meta);
        let update = update.cost(cost.map(|amount| Cost::new(amount, "USD")));
        UsageOnWire::Acp(Box::new(SessionUpdate::UsageUpdate(update)))
    }
}

/// All tokens of a request: what it sent, and the answer, are the context of the next one.
pub(crate) fn total(request: &Usage) -> u64 {
    let (input, output) = (request.input_tokens.unwrap_or(0), request.output_tokens.unwrap_or(0));
    input.saturating_add(output)
}

impl Earlier {
    /// Adds a turn that has ended.
    pub(crate) fn add(&mut self, turn: Option<Usage>) {
        self.has_unknown = turn.is_none();
        let turn = turn.unwrap_or_default();
        self.conversation = self.conversation.plus(turn);
        if let Some(cost) = turn.cost_usd {
            self.cost_usd = Some(self.cost_usd.unwrap_or(0.0) + cost);
        }
    }
}

/// The name of the update for an agent that does not report the tokens in the context.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TurnUsage<'a> {
    session_update: &'static str,
    usage: &'a Usage,
}

impl Serialize for UsageOnWire {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Acp(update) => update.serialize(serializer),
            Self::Turn(usage) => TurnUsage {
                session_update: "_turn_usage",
                usage,
            }
            .serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn usage(input: u64, output: u64, cost_usd: Option<f64>) -> Usage {
        Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            cached_tokens: None,
            cost_usd,
        }
    }

    fn shown(report: UsageReport, earlier: Earlier) -> Value {
        let report = UsageReport { earlier, ..report };
        serde_json::to_value(report.update()).unwrap()
    }

    #[test]
    fn the_context_and_the_session_are_not_the_turn() {
        let mut earlier = Earlier::default();
        earlier.add(Some(usage(100, 10, Some(0.5))));
        let report = UsageReport::new(usage(30, 3, Some(0.25)), Context::Tokens(17), 1000);
        let update = shown(report, earlier);
        assert_eq!((&update["used"], &update["size"]), (&json!(17), &json!(1000)));
        assert_eq!(update["cost"], json!({"amount": 0.75, "currency": "USD"}));
        assert_eq!(
            update["_meta"]["usage"],
            json!({"input_tokens": 30, "output_tokens": 3, "cost_usd": 0.25})
        );
    }

    #[test]
    fn sums_over_all_turns_become_the_turns_own() {
        let mut earlier = Earlier::default();
        earlier.add(Some(usage(100, 10, None)));
        let one = UsageReport::cumulative(usage(130, 13, None), Context::OneRequest);
        assert_eq!(shown(one, earlier)["used"], 33);
        let several = UsageReport::cumulative(usage(130, 13, None), Context::Unknown);
        let expected = json!({"sessionUpdate": "_turn_usage", "usage": {"input_tokens": 30, "output_tokens": 3}});
        assert_eq!(shown(several, earlier), expected);
        // Codex was interrupted in between: what that turn has used is in the sum, too.
        earlier.add(None);
        assert_eq!(shown(one, earlier), expected);
    }
}
