//! The setup process: clones the repository, runs the setup commands, and then becomes the agent by `exec`.
//!
//! Owns everything between the start of that process and the agent's `exec`. The process has the agent's session,
//! process group, output files, marker and environment, so the keeper treats both alike. It writes its progress to a
//! file and waits for nobody: the death of the keeper or of the server does not disturb it. Promises that the agent only
//! starts after a successful setup. May not write to the journal.
//!
//! The progress file has one JSON line per event, written before the event:
//!
//! ```text
//! {"step":{"step":1,"of":2,"command":"npm ci","sizes":[4096,4096]}}    a step starts
//! {"agent":{"program":"/bin/x","origin":{…},"sizes":[4200,4096]}}      the agent starts
//! {"failed":{"cause":"setup_failed","error":"…"}}                      the agent will not start
//! ```
//!
//! `sizes` are the sizes of both output files at that time, so the keeper knows which bytes belong to which step.

mod failure;
mod git;
mod process;
mod progress;
mod repo;

pub use process::main;
pub(crate) use progress::{SetupProgress, create_file};
