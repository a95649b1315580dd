//! The output of Codex, as seen with 0.169.0: `codex exec --json`.
//!
//! What is not obvious about the stream:
//! - `turn.completed` and `turn.failed` are final; an `error` event is not (it says "Reconnecting… 1/5" too), and an
//!   item of type `error` is only a warning.
//! - SIGINT ends the stream without a further line, exit code 1.
//! - `usage` is a sum over all turns of a thread, and there is no cost.
//! - Texts come when they are complete. An item can be completed without an event for its start.

mod observer;
mod translator;
mod wire;

use super::format::Format;

pub(crate) static CODEX_JSON: Format = Format {
    usage_is_cumulative: true,
    ..Format::stream(
        "codex-json",
        || Box::new(observer::CodexObserver::default()),
        || Box::new(translator::CodexTranslator::default()),
    )
};
