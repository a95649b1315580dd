//! The vocabulary that all other crates share: ids, records, requests, limits, and a session's state.
//!
//! Owns the record format (see `record`) and the fold that turns records into a session's state (see `session`).
//! Promises to be pure: no clock, no I/O, no randomness. Times and random bytes are arguments. May not use any other
//! crate of the workspace.
#![forbid(unsafe_code)]

mod id;
mod limits;
mod record;
mod request;
mod session;

pub use id::{InvalidSessionId, SessionId};
pub use limits::{Limits, MAX_ARGUMENT, MAX_CHUNK, MAX_RESULT, len64, nearest};
pub use record::{
    AnswerChoice, AnswerDetails, AnswerType, AskedQuestion, BlockKind, Body, Cause, Chunk, Chunker, ContentBlock,
    EmbeddedFile, Exited, Gap, GrantScope, Head, InvalidMember, JSON_ESCAPE, LineAssembler, LinePart, MAX_PROMPT_FILE,
    Output, Permission, PermissionAnswer, PermissionKind, PermissionOption, Prompt, PromptContent, Record, RecordKind,
    Resources, Setup, Started, Status, Stdout, StopReason, Stream, TurnEnded, Usage, decode, decode_output, encode,
    encode_output, json_string_length, json_string_part, lenient_cause, output_of, parse_head, time_text, whole_lines,
};
pub use request::{
    CallerPath, InvalidMcpServer, InvalidRepo, InvalidSubagent, McpServer, McpTransport, PermissionDefault,
    PermissionMode, RepoRequest, Retry, RetryOn, SdkConfig, SdkPermissionMode, SessionRequest, SinkKind, SinkRequest,
    StdinMode, SystemPrompt, TurnOptions, View, WebhookEvent, WebhookFormat, When,
};
pub use session::{
    BY_AGENT, CANCELLED, ClockTime, ExitEvidence, FinalEvent, GivenAnswer, Observation, Reset, SessionState,
    SessionStatus, StreamOffset, TurnPhase, TurnState, decide_outcome,
};
