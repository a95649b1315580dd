//! The coding agents: how each is started, and what its output means.
//!
//! Pure: no I/O, no clock, no environment. A launch is computed from a [`TurnRequest`]; an [`Observer`] is fed the
//! lines that the agent wrote and keeps what the runtime has to know of them. Why each switch is there stands in the
//! agent's own file. It was seen by running the versions pinned in `tests/agents/package.json`, whose recorded lines the
//! unit tests read; what is known from documentation alone is [`Evidence::Documented`] and names its source.
#![forbid(unsafe_code)]

mod amp;
mod cause;
mod claude;
mod codex;
mod copilot;
mod crush;
mod cursor;
mod custom;
mod drivers;
mod droid;
mod formats;
mod gemini;
mod goose;
mod json_rpc;
mod known;
mod mcp;
mod mounted;
mod observe;
mod opencode;
mod pi;
mod qwen;
mod shell;
mod update;
pub mod updates;

pub use custom::{Custom, PromptBy};
pub use drivers::{Driver, Effect, Question};
pub use formats::Format;
pub use known::{Capabilities, Evidence, Known, PromptLimit};
pub use mounted::{Mounted, NOTHING_MOUNTED};
pub use observe::Observer;
pub use update::{Translator, Update};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use promptd_model::{McpServer, PermissionMode};

/// The longest single argument that Linux takes, in bytes: `MAX_ARG_STRLEN` less the final zero.
const ARGUMENT_LIMIT: usize = 131_071;

/// An agent that can be started.
#[derive(Debug, Clone)]
pub enum Agent {
    /// One that promptd knows by itself.
    Known(&'static Known),
    /// One from the configuration.
    Custom(Custom),
}

/// Everything that a launch may depend on.
#[derive(Debug, Clone, Copy)]
pub struct TurnRequest<'a> {
    /// The prompt's text, as a file.
    pub prompt_file: &'a Path,
    /// The prompt's text.
    pub prompt: &'a str,
    /// The working directory.
    pub cwd: &'a Path,
    /// Whether the agent is to ask.
    pub permission: PermissionMode,
    /// Servers of tools, by name.
    pub mcp_servers: &'a BTreeMap<String, McpServer>,
    /// What stands ready in the agent's folders.
    pub mounted: &'a Mounted,
    /// The folder where [`Launch::files`] will stand.
    pub files_dir: &'a Path,
    /// True where the agent is to begin a conversation, false where it is to go on with `agent_session_id`.
    pub first_turn: bool,
    /// The agent's own id of the conversation; in a first turn the one it shall use, if it lets us choose.
    pub agent_session_id: Option<&'a str>,
    /// The model, in the agent's own words.
    pub model: Option<&'a str>,
    /// What stands in place of the agent's own system prompt.
    pub system_prompt: Option<&'a str>,
    /// How many answers of the model one turn may take.
    pub max_turns: Option<u32>,
    /// The only tools that may be used, in the agent's own words; empty means all.
    pub allowed_tools: &'a [String],
    /// The caller's own arguments; they come after ours, so they win where an option may be repeated.
    pub args: &'a [String],
    /// Whether the agent will run with effective uid 0.
    pub root: bool,
}

impl TurnRequest<'_> {
    /// For agents that take the id of a new session from us, and resume by it.
    fn session_args(&self) -> Vec<String> {
        let option = if self.first_turn { "--session-id" } else { "--resume" };
        self.agent_session_id.map_or_else(Vec::new, |id| words([option, id]))
    }

    /// A launch that reads the prompt as its standard input, with the caller's arguments behind ours.
    fn prompted(&self, mut args: Vec<String>) -> Launch {
        args.extend_from_slice(self.args);
        Launch {
            args,
            stdin: Stdin::Prompt,
            ..Launch::default()
        }
    }

    /// The same for a conversation whose launch has named the servers of tools.
    fn without_servers(self) -> Self {
        static NONE: BTreeMap<String, McpServer> = BTreeMap::new();
        Self {
            mcp_servers: &NONE,
            ..self
        }
    }
}

/// How to start an agent; the caller finds the program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// The arguments, without the program.
    pub args: Vec<String>,
    /// Variables to set; what the session itself sets should win.
    pub env: Vec<(String, String)>,
    /// What the agent reads.
    pub stdin: Stdin,
    /// Files to write into [`TurnRequest::files_dir`] before the start: names and contents, which can be secret.
    pub files: Vec<(&'static str, String)>,
    /// Folders to make in [`TurnRequest::files_dir`] before the start; what a former turn left in them goes.
    pub folders: Vec<&'static str>,
    /// Links to make before the start. Below [`TurnRequest::files_dir`] they are new for every turn; elsewhere each is
    /// made only where there is nothing yet.
    pub links: Vec<Link>,
    /// The field of the request that is lost, without an error of the agent's, where others may write to a folder above
    /// [`TurnRequest::files_dir`].
    pub needs_private_folders: Option<&'static str>,
    /// What has to be there for the agent to go on with its session, where it would else begin anew without a word.
    pub goes_on_with: Option<KeptSession>,
}

/// The file in which an agent keeps a session of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSession {
    /// The variables that name the agent's home; the first that is set counts.
    pub home: &'static [&'static str],
    /// Where it keeps sessions, below its home.
    pub folder: &'static str,
    /// The file, in some folder of that one.
    pub file: String,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it is, absolute.
    pub at: PathBuf,
    /// What it leads to, absolute.
    pub to: PathBuf,
}

/// What an agent gets as its standard input. Never an open pipe: most agents wait on it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// [`TurnRequest::prompt_file`].
    Prompt,
    /// What the agent's [`Driver`] says; open until it says that all is said.
    Conversation,
}

/// Something was asked for that this agent cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("agent {agent:?} cannot take `{field}`: {hint}")]
pub struct Unsupported {
    /// The agent's name.
    pub agent: String,
    /// The field of the request that is in the way.
    pub field: &'static str,
    /// What to do instead.
    pub hint: String,
}

/// The agents that promptd knows by itself.
pub fn known() -> impl Iterator<Item = &'static Known> {
    [
        &shell::SHELL,
        &claude::CLAUDE,
        &codex::CODEX,
        &gemini::GEMINI,
        &amp::AMP,
        &cursor::CURSOR,
        &qwen::QWEN,
        &opencode::OPENCODE,
        &copilot::COPILOT,
        &droid::DROID,
        &pi::PI,
        &goose::GOOSE,
        &crush::CRUSH,
    ]
    .into_iter()
}

/// Finds a known agent by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Known> {
    known().find(|agent| agent.name == name)
}

impl Agent {
    /// The name by which requests ask for this agent.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(known) => known.name,
            Self::Custom(custom) => &custom.name,
        }
    }

    /// Programs that can run it, best first: names to look up on the `PATH`, or a path from the configuration.
    #[must_use]
    pub fn programs(&self) -> Vec<&str> {
        match self {
            Self::Known(known) => known.programs.to_vec(),
            Self::Custom(custom) => custom.program().into_iter().collect(),
        }
    }

    /// The command that installs it, where there is one.
    #[must_use]
    pub fn install(&self) -> Option<&'static str> {
        match self {
            Self::Known(known) => Some(known.install),
            Self::Custom(_) => None,
        }
    }

    /// How we know it; `None` for one from the configuration.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        match self {
            Self::Known(known) => Some(known.evidence),
            Self::Custom(_) => None,
        }
    }

    /// What a request may ask of it.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::Known(known) => known.capabilities,
            Self::Custom(custom) => custom.capabilities(),
        }
    }

    /// Variables without which a turn would wait for ever.
    #[must_use]
    pub fn required_env(&self) -> &'static [&'static str] {
        match self {
            Self::Known(known) => known.required_env,
            Self::Custom(_) => &[],
        }
    }

    /// Computes how to start one turn.
    ///
    /// # Errors
    /// Where the request holds something that the agent cannot do; better refused than silently left out.
    pub fn launch(&self, request: &TurnRequest<'_>) -> Result<Launch, Unsupported> {
        self.capabilities().check(self.name(), request)?;
        mcp::check(self.name(), request.mcp_servers)?;
        let launch = match self {
            Self::Known(known) => {
                known.check_prompt(request.prompt)?;
                match (request.permission, &known.conversation) {
                    (PermissionMode::Ask, Some(conversation)) => (conversation.launch)(request),
                    (PermissionMode::Ask | PermissionMode::Bypass, _) => (known.launch)(request),
                }
            }
            Self::Custom(custom) => custom.launch(request)?,
        };
        if launch.args.iter().any(|arg| arg.len() > ARGUMENT_LIMIT) {
            let hint = format!("an argument can have {ARGUMENT_LIMIT} bytes at most");
            return Err(Unsupported {
                agent: self.name().to_owned(),
                field: "args",
                hint,
            });
        }
        Ok(launch)
    }

    /// What the agent writes when it is started with this permission mode.
    #[must_use]
    pub fn format(&self, permission: PermissionMode) -> &'static Format {
        match (self, permission) {
            (
                Self::Known(Known {
                    conversation: Some(conversation),
                    ..
                }),
                PermissionMode::Ask,
            ) => conversation.format,
            (Self::Known(known), _) => known.format,
            (Self::Custom(custom), _) => custom.stream,
        }
    }

    /// What reads the agent's stream; none where only the exit code tells how a turn went.
    #[must_use]
    pub fn observer(&self, permission: PermissionMode) -> Option<Box<dyn Observer>> {
        self.format(permission).observer.map(|make| make())
    }

    /// What puts the agent's stream into ACP's words; none where its bytes are the answer.
    #[must_use]
    pub fn translator(&self, permission: PermissionMode) -> Option<Box<dyn Translator>> {
        self.format(permission).translator.map(|make| make())
    }

    /// What talks with the agent, where it is started to be talked with.
    #[must_use]
    pub fn driver(&self, request: &TurnRequest<'_>) -> Option<Box<dyn Driver>> {
        match self {
            Self::Known(known) if request.permission == PermissionMode::Ask => known
                .conversation
                .as_ref()
                .map(|conversation| (conversation.driver)(request)),
            Self::Known(_) => None,
            Self::Custom(custom) => custom.driver(request),
        }
    }
}

/// Owned arguments from literals.
fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Owned variables from literals.
fn vars<const N: usize>(vars: [(&str, &str); N]) -> Vec<(String, String)> {
    vars.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The path of a support file, as text for an argument or a variable.
fn file_path(request: &TurnRequest<'_>, name: &str) -> String {
    request.files_dir.join(name).to_string_lossy().into_owned()
}

#[cfg(test)]
mod launch_tests;
#[cfg(test)]
mod tests;
