//! How to start an agent for one turn.

use std::path::PathBuf;

use super::request::TurnRequest;
use promptd_model::MAX_ARGUMENT;

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
    pub(crate) fn new(stdin: Stdin) -> Self {
        Self {
            stdin,
            ..Self::default()
        }
    }

    pub(crate) fn add_args<const N: usize>(&mut self, args: [&str; N]) {
        self.args.extend(args.map(str::to_owned));
    }

    /// An option with its value, if there is one.
    pub(crate) fn add_option(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.args.extend([name.to_owned(), value.to_string()]);
        }
    }

    /// The options of agents that take the id of a new session from us, and resume by it.
    pub(crate) fn add_session(&mut self, request: &TurnRequest<'_>) {
        let name = if request.first_turn { "--session-id" } else { "--resume" };
        self.add_option(name, request.agent_session_id);
    }

    pub(crate) fn add_vars<const N: usize>(&mut self, vars: [(&str, &str); N]) {
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.env.extend(vars);
    }

    /// Adds a file and returns its path, for an argument or a variable.
    pub(crate) fn add_file(
        &mut self,
        request: &TurnRequest<'_>,
        name: &'static str,
        text: impl Into<String>,
    ) -> String {
        self.files.push((name, text.into()));
        file_path(request, name)
    }

    /// The system prompt's path, if there is one.
    pub(crate) fn add_system_prompt(&mut self, request: &TurnRequest<'_>) -> Option<String> {
        let text = request.system_prompt?;
        Some(self.add_file(request, "system-prompt.md", text))
    }

    /// Adds the caller's arguments.
    pub(crate) fn with_caller_args(mut self, request: &TurnRequest<'_>) -> Self {
        self.args.extend_from_slice(request.args);
        self
    }
}

/// Refuses arguments and variables that no program can be started with.
pub(crate) fn check_arguments(agent: &str, launch: &Launch, request: &TurnRequest<'_>) -> Result<(), Unsupported> {
    let refused = |field, hint| {
        Err(Unsupported {
            agent: agent.to_owned(),
            field,
            hint,
        })
    };
    let variables = launch.env.iter().map(|(_, value)| value);
    if launch.args.iter().chain(variables).any(|text| text.contains('\0')) {
        let field = request.texts().find(|(_, text)| text.contains('\0'));
        let field = field.map_or("args", |(field, _)| field);
        return refused(
            field,
            "a program cannot be started with a NUL in it; leave it out".to_owned(),
        );
    }
    if let Some(long) = launch.args.iter().find(|arg| arg.len() > MAX_ARGUMENT) {
        let within = request.texts().filter(|(_, text)| long.contains(*text));
        let field = within.max_by_key(|(_, text)| text.len());
        let field = field.map_or("args", |(field, _)| field);
        let size = long.len();
        let hint = format!("as an argument it has {size} bytes, and an argument can have {MAX_ARGUMENT} at most");
        return refused(field, hint);
    }
    Ok(())
}

/// The path of one of [`Launch::files`] or [`Launch::folders`], as text.
pub(crate) fn file_path(request: &TurnRequest<'_>, name: &str) -> String {
    request.files_dir.join(name).to_string_lossy().into_owned()
}
