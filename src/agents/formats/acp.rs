//! The Agent Client Protocol: the agent is talked with, and its updates are in ACP's words already.

use super::Format;

pub(in crate::agents) static ACP: Format = Format {
    name: "acp",
    final_event: true,
    usage_is_cumulative: false,
    observer: None,
    translator: None,
};
