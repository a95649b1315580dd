//! From a request to a program with arguments, environment and files.
//!
//! Owns `links.json` in the home, and the agent's files in a session's folder. Promises that what can be refused is
//! refused when a request is accepted, and that links in agents' homes are removed with their turns. May not start
//! anything but `--version`.

pub(crate) mod catalog;
pub(crate) mod environment;
pub(crate) mod inputs;
pub(crate) mod links;
pub(crate) mod mcp_file;
pub(crate) mod paths;
pub(crate) mod prepare;
pub(crate) mod probe;
pub(crate) mod program;
pub(crate) mod refusals;
pub(crate) mod scratch;
pub(crate) mod setup;
pub(crate) mod size;
pub(crate) mod validate;
pub(crate) mod workspace_files;
