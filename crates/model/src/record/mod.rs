//! Records: what the journal contains, and what readers receive.
//!
//! Owns the record types, their JSON format, and the way from a stream of bytes to output records and back. Promises
//! that the agent's bytes survive a round trip exactly. May not read or write files.
//!
//! ```text
//! {"seq":2,"time":"2026-11-21T02:40:00.123456Z","turn":1,"type":"stdout","to":6,"data":"hello"}
//! ```
//!
//! A record is one line. `seq`, `time`, `turn` (absent for records of the session) and `type` come first and in this
//! order; in output records `to` follows. `time` has a fixed length. So the head of a line can be parsed by position.
//! Output is in `data`, or in `base64` if it is not UTF-8. `"eol":false` marks a chunk that does not end a line.

mod assembler;
mod body;
mod chunk;
mod codec;
mod content;
mod lenient;
mod parts;
mod permission;
mod question;
mod status;

pub use assembler::{LineAssembler, LinePart};
pub use body::{Body, Exited, Gap, Output, Prompt, Record, Resources, Setup, Started, Stdout, Stream, TurnEnded};
pub use chunk::{Chunk, Chunker, whole_lines};
pub use codec::{Head, RecordKind, decode, decode_output, encode, encode_output, output_of, parse_head, time_text};
pub use content::{BlockKind, ContentBlock, EmbeddedFile, InvalidMember, MAX_PROMPT_FILE, PromptContent};
pub use lenient::cause as lenient_cause;
pub(crate) use lenient::known;
pub use parts::{JSON_ESCAPE, json_string_length, json_string_part};
pub use permission::{GrantScope, Permission, PermissionAnswer, PermissionKind, PermissionOption};
pub use question::{AnswerChoice, AnswerDetails, AnswerType, AskedQuestion};
pub use status::{Cause, Status, StopReason, Usage};
