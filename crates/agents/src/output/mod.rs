//! What all formats and drivers share to read an agent's output.
//!
//! Owns how a line is read ([`json_line`], [`clean`], [`lenient`], [`long_number`]), what the runtime learns from output ([`observer`]), ACP updates
//! ([`update`]) with tool calls ([`calls`], [`tool`], [`edit`]), plans ([`plan`]), tokens ([`usage`]) and facts about the session
//! ([`session`]) in them, what a complete text adds to its chunks ([`chunks`]), the classification of
//! failures ([`cause`], [`reset`]), and JSON-RPC in lines ([`json_rpc`]).
//!
//! Promises that any bytes will do: nothing here fails, panics or grows without a limit because of what an agent wrote.
//!
//! May not know a particular format.

pub(crate) mod calls;
pub(crate) mod cause;
pub(crate) mod chunks;
pub(crate) mod clean;
pub(crate) mod edit;
mod input;
pub(crate) mod json_line;
pub(crate) mod json_rpc;
mod kind;
pub(crate) mod lenient;
pub(crate) mod long_number;
pub(crate) mod observer;
pub(crate) mod plan;
pub(crate) mod reset;
pub(crate) mod session;
mod title;
pub(crate) mod tool;
pub(crate) mod update;
pub(crate) mod usage;
