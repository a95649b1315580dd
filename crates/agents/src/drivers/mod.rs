//! Dialogs with an agent over its standard input and output, as state machines, one for each protocol.
//!
//! Owns what promptd writes to an agent in one attempt of one turn. A driver takes what is in the journal, in order: the
//! agent's lines, the callers' answers, and what was written to the agent. It returns the effects that are due.
//!
//! Promises to be pure: the same records give the same effects. So a server that restarts finds by replay what the former
//! one had not sent.
//!
//! May use `launch` for the request, `formats` for the observers, and `output`. It has no I/O, no clock, and no
//! randomness.

pub(crate) mod acp;
pub(crate) mod app_server;
pub(crate) mod claude_control;
pub(crate) mod claude_grants;
mod clean;
pub(crate) mod driver;
mod form;
mod questions;
mod words;

#[cfg(test)]
mod tests;
