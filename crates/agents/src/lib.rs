//! The coding agents: how each one is started, what its output means, and how promptd answers its questions.
//!
//! Owns the built-in agents ([`agents`]), the launch of a turn ([`launch`]), the readers of all output formats
//! ([`formats`]), the dialogs over standard input and output ([`drivers`]), and `view=updates` ([`updates`]).
//!
//! Promises to be pure: no I/O, no clock, no environment. A launch is computed from a [`TurnRequest`]. An [`Observer`]
//! takes the lines that an agent wrote and knows how the turn ended. A [`Translator`] turns the same lines into ACP
//! updates. The reason for each switch is in the file of its agent. All of it was seen in runs of the versions that
//! `tests/agents/package.json` pins. The unit tests read the recorded output of these runs.
//!
//! May use `promptd-model` and nothing else of promptd.
#![forbid(unsafe_code)]

mod agent;
mod agents;
mod drivers;
mod formats;
mod launch;
mod output;
pub mod updates;

pub use agent::Agent;
pub use agents::built_in::{BuiltIn, Evidence, PromptLimit};
pub use agents::custom::{Custom, PromptBy};
pub use agents::{built_in_agents, find};
pub use drivers::driver::{Driver, Effect, Question};
pub use formats::format::Format;
pub use launch::capabilities::Capabilities;
pub use launch::command::{Launch, Link, SessionFile, Stdin, Unsupported};
pub use launch::request::{NO_WORKSPACE_FILES, TurnRequest, WorkspaceFiles};
pub use output::lines::json_line::{JsonPart, json_parts, repair_json};
pub use output::observer::Observer;
pub use output::reset::find_reset;
pub use output::update::{Translator, Update};

#[cfg(test)]
mod tests;
