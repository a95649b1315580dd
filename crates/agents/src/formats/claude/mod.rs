//! The output of Claude Code, as seen with 2.1.329: `claude -p` with its stream of JSON lines, and the same stream in a
//! dialog. Other programs write it, too.
//!
//! What is not obvious about the stream:
//! - `result` ends a turn. But if a background task runs, another answer and another `result` follow. The same is true if
//!   the `terminal_reason` is `background_requested`: the answer's own work goes on in the background.
//! - A `result` without an answer of the model (`num_turns` 0) can follow directly on the `result` of the turn, even with
//!   the subtype `error_during_execution`. It is about nothing that the turn did.
//! - `rate_limit_event` says when a quota is full again, and `error` in an `assistant` line says why a request failed.
//! - `is_error` decides, or a `subtype` of `error_…`. The subtype is `success` even if the API refused the request.
//! - SIGINT gives exit code 0 and a `result` with `terminal_reason` `aborted_…`.
//! - `total_cost_usd` is a sum over all turns of a session, without the cost of interrupted turns. `usage` excludes
//!   interrupted answers and subagents. `model_usage_since_last_result` has everything, for this turn alone. Other
//!   programs write `usage` at most.
//! - With partial messages, one `assistant` line per block comes after the block's chunks and before its end. Without
//!   partial messages, and always for a subagent, there is only this line.
//! - `abandoned_blocks` beside the event `message_stop` says that the blocks from an index on are void: claude asks the
//!   model again. The API of a model may give the same id to several messages.
//! - Texts in the user's role may be claude's own: the note that a person interrupted it, or what it says to the model
//!   after an answer that was cut off. Some are marked with `isSynthetic`.
//! - A subagent's lines name the tool call that started it in `parent_tool_use_id`. They may come between the agent's own
//!   lines.

mod control;
mod messages;
mod observer;
mod synthetic;
mod system;
pub(crate) mod translator;
mod wire;

pub(crate) use observer::ClaudeObserver;

use super::format::Format;
use crate::output::lines::json_line::ChunkPath;
use control::ClaudeControlTranslator;
use translator::ClaudeTranslator;

pub(crate) static CLAUDE_STREAM_JSON: Format = Format {
    chunks: &CHUNKS,
    ..Format::stream(
        "claude-stream-json",
        || Box::new(ClaudeObserver::default()),
        || Box::new(ClaudeTranslator::default()),
    )
};

/// Where a chunk has its text.
pub(crate) const CHUNKS: [ChunkPath; 2] = [&["event", "delta", "text"], &["event", "delta", "thinking"]];

/// The same stream in a dialog: between its lines are those with which claude asks and answers.
pub(crate) static CLAUDE_CONTROL: Format = Format {
    name: "claude-control",
    is_dialog: true,
    translator: Some(|| Box::new(ClaudeControlTranslator::default())),
    ..CLAUDE_STREAM_JSON
};
