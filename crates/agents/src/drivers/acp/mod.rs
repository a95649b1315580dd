//! The dialog in the Agent Client Protocol (ACP), version 1: one prompt, and the answers to the agent's questions.
//!
//! promptd offers the agent no files and no terminals: agents have their own in the same sandbox. Requests for them get
//! JSON-RPC's "method not found", which the agents accept. Opencode requests to write each edited file, qwen requests
//! the prompts that wait.

mod ask_mode;
mod calls;
mod driver;
mod login;
mod prompt;
mod responses;
mod servers;
mod session;

pub(crate) use driver::{new, of_configured};
