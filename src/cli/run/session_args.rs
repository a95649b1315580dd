//! The flags of `promptd run` that describe a new session, and the request that they make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::cli::error::CliError;
use crate::cli::global::one_of;
use promptd_model::{McpServer, PermissionMode, PromptContent, RepoRequest, SessionId, SessionRequest, TurnOptions};

/// A new session.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The agent: one that `promptd doctor` lists, such as claude, codex, gemini or shell, or one from config.toml
    /// [default: the server's default agent]
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// The model, by the agent's name for it
    #[arg(short, long)]
    model: Option<String>,
    /// Text for the agent's system prompt
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// What the agent may do without asking. `bypass`: everything; the sandbox is the boundary. `ask`: it asks, and a key
    /// on a terminal or `promptd answer` answers [default: the server's, which is bypass unless configured]
    #[arg(long, value_name = "MODE", value_parser = one_of::<PermissionMode>(&["ask", "bypass"]))]
    permission: Option<PermissionMode>,
    /// A tool the agent may use; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    allowed_tool: Vec<String>,
    /// Maximum model requests in a turn
    #[arg(long, value_name = "N")]
    max_turns: Option<u32>,
    /// MCP servers for the agent: a JSON file with `mcpServers`, as many agents use it
    #[arg(long, value_name = "FILE")]
    mcp_config: Option<PathBuf>,
    /// The working directory, relative to the workspace; `new`: a folder of its own for this session
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// A git repository to clone first; the agent works in it
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// The repository's branch, tag or commit [default: its default branch]
    #[arg(long = "ref", value_name = "REF", requires = "repo")]
    reference: Option<String>,
    /// The name of the variable with the repository's token; see --env
    #[arg(long, value_name = "NAME", requires = "repo")]
    token_env: Option<String>,
    /// A shell command to run before the agent, after the clone; may be repeated
    #[arg(long, value_name = "COMMAND")]
    setup: Vec<String>,
    /// A variable for the agent; `NAME` alone takes the value from this shell; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Maximum seconds of a turn
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,
    /// The session's id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<SessionId>,
}

/// Those that a turn of a session which is there cannot change.
pub(super) const SESSION_ONLY: [&str; 12] = [
    "agent",
    "system_prompt",
    "allowed_tool",
    "mcp_config",
    "cwd",
    "repo",
    "reference",
    "token_env",
    "setup",
    "env",
    "timeout",
    "id",
];

/// The file of `--mcp-config`. It may have other keys.
#[derive(Deserialize)]
struct McpConfig {
    #[serde(rename = "mcpServers", alias = "mcp_servers")]
    servers: BTreeMap<String, McpServer>,
}

impl SessionArgs {
    /// What they choose for a turn.
    pub(crate) fn turn_options(&self) -> TurnOptions {
        TurnOptions {
            model: self.model.clone(),
            permission: self.permission,
            max_turns: self.max_turns,
        }
    }

    pub(crate) fn request(self, prompt: PromptContent) -> Result<SessionRequest, CliError> {
        let mcp_servers = self.mcp_config.as_deref().map(mcp_servers).transpose()?;
        Ok(SessionRequest {
            agent: self.agent,
            prompt: Some(prompt),
            id: self.id,
            cwd: self.cwd,
            model: self.model,
            system_prompt: self.system_prompt,
            permission: self.permission,
            allowed_tools: self.allowed_tool,
            max_turns: self.max_turns,
            mcp_servers: mcp_servers.unwrap_or_default(),
            env: BTreeMap::from_iter(self.env),
            repo: self.repo.map(|url| RepoRequest {
                url,
                reference: self.reference,
                token_env: self.token_env,
                ..RepoRequest::default()
            }),
            setup: self.setup,
            timeout: self.timeout,
            ..SessionRequest::default()
        })
    }
}

fn mcp_servers(path: &Path) -> Result<BTreeMap<String, McpServer>, CliError> {
    let text = std::fs::read(path).map_err(|source| CliError::File {
        path: path.to_owned(),
        source,
    })?;
    // Without serde's message: it can contain a value, and values are secret.
    let config: McpConfig = serde_json::from_slice(&text).map_err(|error| {
        CliError::Usage(format!(
            "{}:{}:{} is not a list of MCP servers; write {{\"mcpServers\": {{\"NAME\": {{\"command\": …}}}}}}, or \"url\" for one \
             elsewhere",
            path.display(),
            error.line(),
            error.column()
        ))
    })?;
    Ok(config.servers)
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (
            text,
            std::env::var(text).map_err(|_| format!("{text} is not set in this shell; write NAME=VALUE"))?,
        ),
    };
    if name.is_empty() {
        Err("write NAME=VALUE".to_owned())
    } else {
        Ok((name.to_owned(), value))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    seconds.ok_or_else(|| "write seconds as a number above 0, such as 600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_has_a_value_or_takes_the_shells() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("PATH"), Ok(("PATH".into(), std::env::var("PATH").unwrap())));
        assert!(variable("=x").is_err());
        assert!(variable("PROMPTD_SURELY_NOT_SET").is_err());
    }

    #[test]
    fn timeout_must_be_positive() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["0", "-1", "inf", "nan", "ten"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
