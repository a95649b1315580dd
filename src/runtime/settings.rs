//! The server's settings, merged from flags, environment, file and defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use promptd_agents::{Format, PromptBy};
use promptd_model::{Limits, McpServer, PermissionMode, SinkRequest, Stdout};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Who may use the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// A token opens the API; on loopback, as long as no token is set, every local caller may use it.
    Token,
    /// Everybody, explicitly.
    None,
    /// A token opens the API, or the sandbox's own access token of E2B (`X-Access-Token`).
    E2b,
}

impl AuthMode {
    /// The name in configurations and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::None => "none",
            Self::E2b => "e2b",
        }
    }
}

/// An agent from the configuration: any command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredAgent {
    /// Program and arguments.
    pub command: Vec<String>,
    /// How it gets the prompt.
    pub prompt: PromptBy,
    /// What it writes.
    pub stream: &'static Format,
    /// What it writes it to.
    pub stdout: Stdout,
    /// The mode in which it asks, by its own id.
    pub ask_mode: Option<String>,
    /// Environment for it.
    pub env: BTreeMap<String, String>,
}

/// Where the platform tells which sandbox this is, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its metadata service, `http://169.254.169.254`; on other machines somebody else's.
    pub metadata: String,
    /// Its events host, `http://events.e2b.local`.
    pub events: String,
    /// Its daemon in the sandbox, which knows who may use it: `http://127.0.0.1:49983`.
    pub envd: String,
    /// Its files, `/run/e2b`.
    pub folder: PathBuf,
    /// The environment says that this is E2B: `E2B_SANDBOX=true`, or a variable for one of the above.
    pub is_e2b: bool,
}

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Where sessions, configuration and control socket live.
    pub home: PathBuf,
    /// Where agents work.
    pub workspace: PathBuf,
    /// Who may use the API.
    pub auth: AuthMode,
    /// `auth = none` is meant, even on a public address.
    pub insecure_public: bool,
    /// `PROMPTD_TOKEN`: one token per line or comma. Where it is set, a token was meant, even if it has none.
    pub env_tokens: Option<Vec<String>>,
    /// The configuration file that is watched, there or not.
    pub config_file: PathBuf,
    /// The agent when a request names none.
    pub default_agent: String,
    /// The wall timeout when a request names none.
    pub default_timeout: Option<Duration>,
    /// The idle timeout when a request names none.
    pub default_idle_timeout: Option<Duration>,
    /// What agents may do without asking when a request does not say.
    pub default_permission: PermissionMode,
    /// How long a shutdown may take.
    pub grace: Duration,
    /// A shutdown stops the agents, too.
    pub stop_agents: bool,
    /// Limits.
    pub limits: Limits,
    /// Agents from the configuration, by name.
    pub agents: BTreeMap<String, ConfiguredAgent>,
    /// Sinks of all sessions.
    pub sinks: Vec<SinkRequest>,
    /// MCP servers for all sessions, by name; a session's own win.
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// Where the platform tells which sandbox this is.
    pub platform: Platform,
}

/// The settings that are in force.
#[derive(Debug)]
pub(crate) struct SettingsStore(RwLock<Arc<Settings>>);

impl SettingsStore {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(RwLock::new(Arc::new(settings)))
    }

    pub(crate) fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts new settings into force. Addresses, home and workspace stay: the server is bound to them.
    pub(crate) fn replace(&self, new: Settings) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(Settings {
            listen: current.listen.clone(),
            home: current.home.clone(),
            workspace: current.workspace.clone(),
            ..new
        });
    }
}
