//! What `promptd run` asks for: its flags, as the request they make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::cli::error::CliError;
use promptd_model::{McpServer, PermissionMode, RepoRequest, SessionId, SessionRequest};

/// What a new session is to be.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The agent: claude, codex, gemini, shell, another one that `promptd doctor` names, or one from config.toml
    /// [default: the server's default agent]
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// The model, in the agent's words
    #[arg(short, long)]
    model: Option<String>,
    /// Text for the agent's system prompt
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// What the agent may do without asking; with `ask`, a key answers on a terminal, and `promptd answer` elsewhere
    /// [default: the server's, which is bypass unless configured]
    #[arg(long, value_enum, value_name = "MODE")]
    permission: Option<Mode>,
    /// A tool the agent may use; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    allowed_tool: Vec<String>,
    /// The most model requests in a turn
    #[arg(long, value_name = "N")]
    max_turns: Option<u32>,
    /// Servers of tools for the agent: a JSON file with `mcpServers`, as many agents have it
    #[arg(long, value_name = "FILE")]
    mcp_config: Option<PathBuf>,
    /// The working directory, relative to the workspace
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// A git repository to clone before; the agent works in it
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// The repository's branch, tag or commit [default: its default branch]
    #[arg(long = "ref", value_name = "REF", requires = "repo")]
    reference: Option<String>,
    /// The variable that has the repository's token; see --env
    #[arg(long, value_name = "NAME", requires = "repo")]
    token_env: Option<String>,
    /// A shell command to run before, behind the clone; may be repeated
    #[arg(long, value_name = "COMMAND")]
    setup: Vec<String>,
    /// A variable for the agent; `NAME` alone passes on this shell's
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The most seconds a turn may take
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,
    /// The session's id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<SessionId>,
}

/// [`PermissionMode`], as an argument.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// The agent asks, as it would a person before it.
    Ask,
    /// Everything: the sandbox is the boundary.
    Bypass,
}

/// The file of `--mcp-config`, of which other parts are for others.
#[derive(Deserialize)]
struct McpConfig {
    #[serde(rename = "mcpServers", alias = "mcp_servers")]
    servers: BTreeMap<String, McpServer>,
}

impl JobArgs {
    pub(crate) fn request(self, prompt: String) -> Result<SessionRequest, CliError> {
        let mcp_servers = self.mcp_config.as_deref().map(mcp_servers).transpose()?;
        Ok(SessionRequest {
            agent: self.agent,
            prompt: Some(prompt),
            id: self.id,
            cwd: self.cwd,
            model: self.model,
            system_prompt: self.system_prompt,
            permission: self.permission.map(|mode| match mode {
                Mode::Ask => PermissionMode::Ask,
                Mode::Bypass => PermissionMode::Bypass,
            }),
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
    // Of a value that does not fit, serde's message would show a part, and values are secret.
    let config: McpConfig = serde_json::from_slice(&text).map_err(|error| {
        CliError::Usage(format!(
            "{}:{}:{} is no list of servers; write {{\"mcpServers\": {{\"NAME\": {{\"command\": …}}}}}}, or \"url\" for one \
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
    fn a_variable_is_given_or_passed_on() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("PATH"), Ok(("PATH".into(), std::env::var("PATH").unwrap())));
        assert!(variable("=x").is_err());
        assert!(variable("PROMPTD_SURELY_NOT_SET").is_err());
    }

    #[test]
    fn a_timeout_is_a_positive_number() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["0", "-1", "inf", "nan", "ten"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
