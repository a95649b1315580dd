//! Following a session: its records are printed until a turn or the session has ended.
//!
//! Promises that every record is printed once, across broken connections and new servers.

mod activity;
mod follower;
mod output_args;
mod printer;
#[cfg(test)]
mod tests;

pub(crate) use self::follower::{Follow, Until, answer, exit_code, exit_code_of_command, follow};
pub(crate) use self::output_args::OutputArgs;
pub(crate) use self::printer::{Filter, Form, Printer};
