//! Ids, records, limits and the session as a fold over its records.
//!
//! Owns the vocabulary that every other module speaks. Promises to be pure: no clock, no I/O, no
//! randomness; times and random bytes come in as arguments. May not use any other module.
#![forbid(unsafe_code)]

mod assembler;
mod codec;
mod id;
mod limits;
mod lines;
mod mcp;
mod outcome;
mod permission;
mod record;
mod repo;
mod request;
mod sdk;
mod sink;
mod state;

pub use assembler::{Assembler, Part};
pub use codec::{Head, Kind, decode, decode_output, encode, encode_output, output_of, parse_head, time_text};
pub use id::{InvalidSessionId, SessionId};
pub use limits::{Limits, MAX_CHUNK, MAX_RESULT, len64, nearest};
pub use lines::{Chunk, Chunker, whole_lines};
pub use mcp::{McpServer, McpTransport, WrongMcp};
pub use outcome::{Cause, Exit, FinalEvent, Observation, Outcome, Status, StopReason, Usage, outcome};
pub use permission::{BY_AGENT, CANCELLED};
pub use record::{
    Body, Exited, Gap, Output, Permission, PermissionAnswer, PermissionKind, PermissionOption, Prompt, Record,
    Resources, Setup, Started, Stream, TurnEnded,
};
pub use repo::{RepoRequest, WrongRepo};
pub use request::{PermissionDefault, PermissionMode, Retry, SessionRequest, StdinMode};
pub use sdk::{SdkConfig, SdkPermissionMode, SystemPrompt, WrongSubagent};
pub use sink::{SinkKind, SinkRequest, View, WebhookEvent, WebhookFormat};
pub use state::{SessionState, SessionStatus, StreamOffset, TurnPhase, TurnState};
