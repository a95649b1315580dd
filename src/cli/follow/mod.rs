//! Following a session: its records from the server, printed until a turn or the session is over.

mod activity;
mod follower;
mod output_args;
mod printer;
#[cfg(test)]
mod tests;

pub(crate) use self::follower::{Follow, Until, answer, exit_code, follow};
pub(crate) use self::output_args::Look;
pub(crate) use self::printer::{Filter, Form, Printer};
