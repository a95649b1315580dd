//! What all formats and drivers share to read an agent's output.
//!
//! Owns how a line is read ([`lines`]), what the runtime learns from output ([`observer`]), ACP updates ([`update`]) with
//! tool calls ([`tools`]), plans ([`plan`]), tokens ([`usage`]) and facts about the session ([`session`]) in them, what a
//! complete text adds to its chunks ([`chunks`]), and the classification of failures ([`cause`], [`reset`]).
//!
//! Promises that any bytes will do: nothing here fails, panics or grows without a limit because of what an agent wrote.
//!
//! May not know a particular format.

pub(crate) mod cause;
pub(crate) mod chunks;
pub(crate) mod lines;
pub(crate) mod observer;
pub(crate) mod plan;
pub(crate) mod reset;
pub(crate) mod session;
pub(crate) mod tools;
pub(crate) mod update;
pub(crate) mod usage;
