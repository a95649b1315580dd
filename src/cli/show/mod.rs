//! The text of a session for a person: lines of `view=updates` in, text out.
//!
//! Owns the state between two lines (open line, running tool calls, open questions) and the look of each update. Promises
//! that no text of an agent controls the terminal, and that the result does not depend on how lines are grouped. Pure: times
//! are those of the records; no clock, no I/O.

mod blocks;
mod question;
mod records;
mod state;
mod style;
mod summary;
#[cfg(test)]
mod tests;
mod tools;
mod updates;

pub(crate) use self::question::option_of_key;
pub(crate) use self::state::Show;
pub(crate) use self::style::Style;
pub(crate) use self::summary::{hint, summary};
