//! `/config` and `/ws`: what clients of the Claude Agent SDK server pattern know
//! (<https://github.com/dzhng/claude-agent-server>), over one session of the agent `claude`.
//!
//! Owns the shapes of the pattern: the configuration's two calls (`config`), the frames (`frames`, pure) and the
//! connection (`connection`). Promises that all clients share one session, that a client that comes back with `after`
//! misses nothing, and that no secret of the configuration is ever answered. Where the pattern keeps one process, here
//! each message is a turn with a process of its own, which resumes the conversation: between two of them nothing runs,
//! and an interrupt ends the turn only. May not keep state: what is configured and which session is shared is the
//! runtime's.

pub(crate) mod config;

mod frames;
pub(crate) mod ws;
