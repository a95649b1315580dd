//! How to start an agent for one turn.

use std::path::PathBuf;

use super::request::TurnRequest;

/// The longest single argument that Linux takes, in bytes: `MAX_ARG_STRLEN` less the final zero.
pub(crate) const ARGUMENT_LIMIT: usize = 131_071;

/// How to start an agent; the caller finds the program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// The arguments, without the program.
    pub args: Vec<String>,
    /// Variables to set. The session's own variables should win.
    pub env: Vec<(String, String)>,
    /// What the agent reads.
    pub stdin: Stdin,
    /// Files to write into [`TurnRequest::files_dir`] before the start: names and contents, which can be secret.
    pub files: Vec<(&'static str, String)>,
    /// Folders to create in [`TurnRequest::files_dir`] before the start. What a former turn left in them is removed.
    pub folders: Vec<&'static str>,
    /// Links to create before the start. Below [`TurnRequest::files_dir`] they are new for every turn. Elsewhere a link is
    /// created only if nothing is there yet.
    pub links: Vec<Link>,
    /// The field of the request that would have no effect, without an error of the agent, if others may write to a folder
    /// above [`TurnRequest::files_dir`].
    pub needs_private_folders: Option<&'static str>,
    /// The file without which the agent would begin a new session instead of the one to resume, without an error.
    pub session_file: Option<SessionFile>,
}

/// The file in which an agent keeps a session of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFile {
    /// The variables that name the agent's home; the first one that is set counts.
    pub home: &'static [&'static str],
    /// The folder of all sessions, below its home.
    pub folder: &'static str,
    /// The file's name. It is in some folder of that one.
    pub file: String,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The absolute path of the link itself.
    pub at: PathBuf,
    /// The absolute path of its target.
    pub to: PathBuf,
}

/// What an agent gets as its standard input. It is never an open pipe without an end: most agents wait for that end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// [`TurnRequest::prompt_file`].
    Prompt,
    /// What the agent's [`Driver`](crate::Driver) writes. It stays open until the driver closes it.
    Dialog,
}

/// A request needs something that this agent cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("agent {agent:?} cannot take `{field}`: {hint}")]
pub struct Unsupported {
    /// The agent's name.
    pub agent: String,
    /// The field of the request.
    pub field: &'static str,
    /// What to do instead.
    pub hint: String,
}

impl Launch {
    /// A launch that reads the prompt from standard input, with the caller's arguments last.
    pub(crate) fn with_prompt(request: &TurnRequest<'_>, mut args: Vec<String>) -> Self {
        args.extend_from_slice(request.args);
        Self {
            args,
            stdin: Stdin::Prompt,
            ..Self::default()
        }
    }
}

/// Refuses arguments that the kernel does not take.
pub(crate) fn check_arguments(agent: &str, launch: &Launch) -> Result<(), Unsupported> {
    if launch.args.iter().all(|arg| arg.len() <= ARGUMENT_LIMIT) {
        return Ok(());
    }
    Err(Unsupported {
        agent: agent.to_owned(),
        field: "args",
        hint: format!("an argument can have {ARGUMENT_LIMIT} bytes at most"),
    })
}

/// The options of agents that take the id of a new session from us, and resume by it.
pub(crate) fn session_args(request: &TurnRequest<'_>) -> Vec<String> {
    let option = if request.first_turn { "--session-id" } else { "--resume" };
    request
        .agent_session_id
        .map_or_else(Vec::new, |id| strings([option, id]))
}

/// Owned arguments from literals.
pub(crate) fn strings<const N: usize>(strings: [&str; N]) -> Vec<String> {
    strings.map(str::to_owned).to_vec()
}

/// Owned variables from literals.
pub(crate) fn vars<const N: usize>(vars: [(&str, &str); N]) -> Vec<(String, String)> {
    vars.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The path of one of [`Launch::files`], as text for an argument or a variable.
pub(crate) fn file_path(request: &TurnRequest<'_>, name: &str) -> String {
    request.files_dir.join(name).to_string_lossy().into_owned()
}
