//! The agents, one file each: program, install command, capabilities, and how one turn is started.
//!
//! Owns the list of built-in agents, and the agents of the configuration ([`custom`]).
//!
//! Promises that every built-in agent is run by the tests, with the version that its file names. An agent that nothing has
//! run is a recipe in the documentation instead.
//!
//! May use `launch` for what all launches share, and name a format or a driver. It does not read output.

pub(crate) mod built_in;
mod claude;
mod codex;
mod copilot;
pub(crate) mod custom;
mod droid;
mod gemini;
mod opencode;
mod pi;
mod qwen;
mod shell;

use built_in::BuiltIn;

/// The agents that promptd knows without configuration.
pub fn built_in_agents() -> impl Iterator<Item = &'static BuiltIn> {
    [
        &shell::SHELL,
        &claude::CLAUDE,
        &codex::CODEX,
        &gemini::GEMINI,
        &qwen::QWEN,
        &opencode::OPENCODE,
        &copilot::COPILOT,
        &droid::DROID,
        &pi::PI,
    ]
    .into_iter()
}

/// Finds a built-in agent by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static BuiltIn> {
    built_in_agents().find(|agent| agent.name == name)
}
