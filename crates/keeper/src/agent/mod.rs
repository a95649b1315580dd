//! The agent's process tree.
//!
//! Owns starting the agent, finding it again after another keeper's death, and ending its whole tree. Promises that no
//! process of the tree is missed. May not write to the journal.

mod process;
mod pump;
mod start_point;
mod stdio;
mod stop_sequence;

pub(crate) use process::{Agent, Processes, start_error};
pub use pump::main as pump_main;
pub(crate) use pump::start as start_pump;
pub(crate) use start_point::StartPoint;
pub(crate) use stdio::open_stdin;
pub(crate) use stop_sequence::{StopProgress, StopSequence};
