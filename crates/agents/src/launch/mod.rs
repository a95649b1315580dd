//! What a turn asks of an agent, and what it takes to start the agent for it.
//!
//! Owns the request of a turn ([`request`]), the launch that answers it ([`command`]), the refusal of what an agent cannot
//! do ([`capabilities`]), MCP servers in the agents' own configuration formats ([`mcp`]), and workspace configuration
//! files ([`workspace_files`]).
//!
//! Promises that no secret is in an argument, which everybody on the machine can read, and that nothing is written
//! into the workspace.
//!
//! May not know a particular agent beyond the format in which it wants its MCP servers.

pub(crate) mod capabilities;
pub(crate) mod command;
pub(crate) mod mcp;
pub(crate) mod request;
pub(crate) mod workspace_files;
