//! The agent's process tree.
//!
//! Owns starting the agent, finding it again after another keeper's death, and ending its whole tree. Promises that no
//! process of the tree is missed. May not write to the journal.

mod process;
mod start_point;
mod stop_sequence;

pub(crate) use process::{Agent, open_stdin, start_error};
pub(crate) use start_point::StartPoint;
pub(crate) use stop_sequence::{StopProgress, StopSequence};
