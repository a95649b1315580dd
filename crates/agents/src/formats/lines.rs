//! Plain text: what the agent writes is its answer, and its exit code is the outcome.

use super::format::Format;

pub(crate) static LINES: Format = Format {
    name: "lines",
    final_event: false,
    usage_is_cumulative: false,
    is_dialog: false,
    chunks: &[],
    observer: None,
    translator: None,
};
