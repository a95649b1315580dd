//! What an agent is given: MCP servers, workspace files; and the page of agents.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod agents_page;
mod mcp_servers;
mod updates_table;
mod workspace_files;
