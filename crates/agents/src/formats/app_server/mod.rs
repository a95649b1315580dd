//! The output of `codex app-server`, as seen with 0.169.0. `codex app-server generate-json-schema` documents
//! the rest.
//!
//! It is JSON-RPC without the member `jsonrpc`. The ids of our own requests are fixed ([`wire::INITIALIZE`] and so on), so
//! the agent's lines alone show what a response belongs to. What is not obvious:
//! - `error` is not final; `turn/completed` is, with a `status` of its own.
//! - `thread/tokenUsage/updated` has the sum over all turns of the thread in `total`, and the model's last answer in
//!   `last`. A resumed thread begins with one of a former turn.
//! - Subagents are threads of their own. Their notifications come between those of the agent.
//! - The first chunk of a quick command's output can be missing. `aggregatedOutput` has all of it.

mod observer;
mod session;
mod translator;
pub(crate) mod wire;

pub(crate) use observer::AppServerObserver;
pub(crate) use translator::tool_call;

use super::format::Format;

pub(crate) static APP_SERVER: Format = Format {
    is_dialog: true,
    chunks: &[&["params", "delta"]],
    ..Format::stream(
        "codex-app-server",
        || Box::new(AppServerObserver::default()),
        || Box::new(translator::AppServerTranslator::default()),
    )
};
