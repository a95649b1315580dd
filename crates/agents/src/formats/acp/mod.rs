//! The output of an agent that speaks the Agent Client Protocol (ACP), version 1
//! (<https://agentclientprotocol.com>), as seen with gemini 0.61.0, opencode 1.18.33, qwen 0.24.4 and copilot 1.0.102.
//!
//! The ids of our own requests are fixed ([`wire::INITIALIZE`] and so on), so the agent's lines alone show what a response
//! belongs to. What is not obvious:
//! - `session/load` replays the former turns before its response. They do not belong to this turn. Gemini responds in the
//!   middle of the replay, and ends it with its list of commands.
//! - Token counts are in the prompt's result (`usage`, not yet in the standard), in its `_meta` (gemini), or in the `_meta`
//!   of an empty text chunk after each answer of the model (qwen). Opencode reports the last answer only,
//!   vibe (3.0.3) all turns of the session.
//! - Some agents count cached input as a part of the input, some separately. The total shows which.
//! - A chunk of the answer may come after the response to the prompt. It still belongs to the answer.
//! - Copilot ends a turn with `end_turn` when the model's API fails, and writes "Error: …" as the agent's message. The
//!   only other signs are that token counts are missing, or that an HTTP status comes first in the message.
//! - Gemini sends no `tool_call` before it asks for permission: only the question has the call.

mod complete;
mod observer;
mod session;
mod translator;
pub(crate) mod wire;

pub(crate) use observer::AcpObserver;

use super::format::Format;

pub(crate) static ACP: Format = Format {
    is_dialog: true,
    chunks: &[&["params", "update", "content", "text"]],
    ..Format::stream(
        "acp",
        || Box::new(AcpObserver::default()),
        || Box::new(translator::AcpTranslator::default()),
    )
};
