//! Everything that the launch of one turn may depend on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use promptd_model::{ContentBlock, McpServer, PermissionMode};

/// Everything that the launch of one turn may depend on.
#[derive(Debug, Clone, Copy)]
pub struct TurnRequest<'a> {
    /// The prompt's text, as a file.
    pub prompt_file: &'a Path,
    /// The prompt's text.
    pub prompt: &'a str,
    /// The prompt's content blocks, if there is more than text.
    pub blocks: &'a [ContentBlock],
    /// The working directory.
    pub cwd: &'a Path,
    /// Whether the agent has to ask before it changes something.
    pub permission: PermissionMode,
    /// What callers have granted in former turns of the session, in the agent's own format.
    pub grants: &'a [Value],
    /// Whether callers send messages while the turn runs.
    pub steerable: bool,
    /// MCP servers, by name.
    pub mcp_servers: &'a BTreeMap<String, McpServer>,
    /// The workspace configuration files that were found.
    pub workspace_files: &'a WorkspaceFiles,
    /// The folder for [`Launch::files`](super::command::Launch::files).
    pub files_dir: &'a Path,
    /// True if the agent has to begin a conversation, false if it has to resume `agent_session_id`.
    pub first_turn: bool,
    /// The agent's own id of the conversation. In a first turn it is the id to use, if the agent lets us choose it.
    pub agent_session_id: Option<&'a str>,
    /// The model, by the agent's own name for it.
    pub model: Option<&'a str>,
    /// Replaces the agent's own system prompt.
    pub system_prompt: Option<&'a str>,
    /// How many answers of the model one turn may take.
    pub max_turns: Option<u32>,
    /// The only tools that may be used, by the agent's own names; empty means all.
    pub allowed_tools: &'a [String],
    /// The caller's own arguments. They come last, so they win if an option may be repeated.
    pub args: &'a [String],
    /// Whether the agent will run with effective uid 0.
    pub root: bool,
}

/// The files that were found in the working directory, the workspace or the agent's home, nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceFiles {
    /// The agent's home, where a link may be created; none if there is no home, or if it belongs to a repository.
    pub home: Option<PathBuf>,
    /// Codex's folder for its configuration; none if no link may be created there.
    pub codex_home: Option<PathBuf>,
    /// The nearest `AGENTS.md`.
    pub agents_md: Option<PathBuf>,
    /// Folders with a `SKILL.md`.
    pub skills: Vec<PathBuf>,
    /// A `config.toml` for codex.
    pub codex_config: Option<PathBuf>,
}

/// Nothing found.
pub static NO_WORKSPACE_FILES: WorkspaceFiles = WorkspaceFiles {
    home: None,
    codex_home: None,
    agents_md: None,
    skills: Vec::new(),
    codex_config: None,
};

impl TurnRequest<'_> {
    /// Whether promptd has to talk with the agent, if it can be talked with: to be asked, to pass messages on, or to hand over
    /// images and files.
    pub(crate) fn needs_dialog(&self) -> bool {
        self.permission == PermissionMode::Ask
            || self.steerable
            || self.blocks.iter().any(|block| block.file().is_some())
    }

    /// The conversation to resume; `None` in a first turn.
    pub(crate) fn resumed_session(&self) -> Option<&str> {
        self.agent_session_id.filter(|_| !self.first_turn)
    }

    /// What a caller wrote, by the field that it is in.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let single = [
            ("prompt", Some(self.prompt)),
            ("system_prompt", self.system_prompt),
            ("model", self.model),
        ];
        let single = single.into_iter().filter_map(|(field, text)| Some((field, text?)));
        let tools = self.allowed_tools.iter().map(|tool| ("allowed_tools", tool.as_str()));
        let servers = self.mcp_servers.values().filter_map(|server| server.url.as_deref());
        let servers = servers.map(|url| ("mcp_servers", url));
        let args = self.args.iter().map(|arg| ("args", arg.as_str()));
        single.chain(tools).chain(servers).chain(args)
    }

    /// The same request for a dialog, if the launch has named the MCP servers.
    pub(crate) fn without_mcp_servers(self) -> Self {
        static NONE: BTreeMap<String, McpServer> = BTreeMap::new();
        Self {
            mcp_servers: &NONE,
            ..self
        }
    }
}
