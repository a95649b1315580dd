//! What can go wrong when a caller asks for something.

use std::io;
use std::path::PathBuf;

use promptd_journal::{ReadError, SeekError, WriteError};
use promptd_model::InvalidMember;

/// A request that cannot be met. Each text says what was wrong and what would be right; `api` maps it to HTTP.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such agent.
    #[error("there is no agent {agent:?}{}; known agents: {}", did_you_mean(nearest.as_deref()), known.join(", "))]
    AgentNotFound {
        /// What was asked for.
        agent: String,
        /// The known name that is nearest.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// Its program is not on this machine.
    #[error("the agent {agent:?} is not installed: no {program} on PATH; {}. Installed: {}", how_to_get(install.as_deref()), installed.join(", "))]
    AgentNotInstalled {
        /// The agent.
        agent: String,
        /// The program that was looked for.
        program: String,
        /// The command that installs it; none for an agent from the configuration.
        install: Option<String>,
        /// Agents that are installed.
        installed: Vec<String>,
    },
    /// A program that a field needs is not on this machine.
    #[error("{field} needs {program}, and there is none on PATH; install it with `{install}`")]
    NotInstalled {
        /// The field of the request.
        field: &'static str,
        /// The program.
        program: &'static str,
        /// The command that installs it.
        install: &'static str,
    },
    /// The agent cannot do what a field asks for.
    #[error("the agent {agent:?} does not support {field}: {hint}{}", or_use(able))]
    Unsupported {
        /// The agent.
        agent: String,
        /// The field of the request.
        field: String,
        /// What would work.
        hint: String,
        /// The agents that support it, where it is known.
        able: Vec<String>,
    },
    /// The agent takes no images and no files in a prompt.
    #[error(
        "the agent {agent:?} takes text only, and the prompt has an image or a file; use an agent that takes them ({}), or put the files into the workspace and name them", able.join(", ")
    )]
    TextOnly {
        /// The agent.
        agent: String,
        /// The agents that take them.
        able: Vec<String>,
    },
    /// The agent takes no message while it works.
    #[error(
        "the agent {agent:?} takes no message while it works; leave out \"when\", so that it is the next turn, or use an agent that does ({})", able.join(", ")
    )]
    NotSteerable {
        /// The agent.
        agent: String,
        /// The agents that do.
        able: Vec<String>,
    },
    /// A content block of a prompt cannot be used.
    #[error(transparent)]
    InvalidMember(#[from] InvalidMember),
    /// A field has a value that cannot be used.
    #[error("{field} is {value}: {hint}")]
    InvalidField {
        /// The field of the request.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        hint: String,
    },
    /// The kernel would not start the agent with it.
    #[error("{field} has {size} bytes, and {limit} is the limit: {hint}")]
    TooLarge {
        /// The field of the request; a variable by its name.
        field: String,
        /// How large it is.
        size: u64,
        /// How large it can be.
        limit: u64,
        /// Why, and what would be right.
        hint: String,
    },
    /// A workspace configuration file that cannot be used.
    #[error("{path} cannot be used: {problem}")]
    WrongMounted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right; never a value of it.
        problem: String,
    },
    /// The agent's own record of its session is gone, and it would begin anew without saying so.
    #[error(
        "there is no {path}, so {agent} cannot go on with its session and would not know the turns before; prompt again with \"fresh\": true to begin a new conversation, or put the file back"
    )]
    SessionLost {
        /// The agent.
        agent: String,
        /// The file, with a `*` for the folder that could be any.
        path: PathBuf,
    },
    /// A sink that cannot be used.
    #[error("{field} {problem}")]
    InvalidSink {
        /// The field of the request, such as `sinks[0].url`.
        field: String,
        /// What is wrong with it, and what would be right; never its value.
        problem: String,
    },
    /// The same key, or id, with another body.
    #[error("{what} was used before with another body; use a new one, or repeat the first request exactly")]
    Conflict {
        /// What was used: the idempotency key or the id.
        what: String,
    },
    /// The server has its token from its own environment.
    #[error(
        "this server takes its token from PROMPTD_TOKEN in its own environment, and from nowhere else; start it without PROMPTD_TOKEN, and its token can be configured"
    )]
    TokenOfEnvironment,
    /// No such session.
    #[error("there is no session {id:?}; GET /v1/sessions lists them")]
    SessionNotFound {
        /// What was asked for.
        id: String,
    },
    /// The session's folder cannot be used.
    #[error("the session {id:?} is damaged ({reason}); delete it, or mend its folder and restart promptd")]
    SessionDamaged {
        /// The session.
        id: String,
        /// Why.
        reason: String,
    },
    /// Only a newer program can use the session's folder.
    #[error(
        "a newer promptd wrote the session {id:?} ({reason}); start that version again, and nothing is lost; or delete the session"
    )]
    SessionNewer {
        /// The session.
        id: String,
        /// Why.
        reason: String,
    },
    /// Too many turns wait.
    #[error("{queued} turns wait already, which is the limit; try again in {retry_after} s or raise limits.queued")]
    QueueFull {
        /// The limit.
        queued: usize,
        /// Seconds after which a try is worth it.
        retry_after: u64,
    },
    /// Too little free disk for a new turn.
    #[error(
        "only {free} bytes of disk are free, and limits.min_free_bytes asks for {min_free}; free some or delete sessions"
    )]
    DiskFull {
        /// What is free.
        free: u64,
        /// What has to be.
        min_free: u64,
    },
    /// The session has no turn that runs.
    #[error("the session {id:?} has no running turn; its status tells how the last one ended")]
    NotRunning {
        /// The session.
        id: String,
    },
    /// The agent's standard input is not open.
    #[error("the standard input of {id:?} is not open; create the session with \"stdin\":\"open\"")]
    StdinClosed {
        /// The session.
        id: String,
    },
    /// The agent's standard input is ours.
    #[error(
        "promptd itself talks with the agent of {id:?}, whose standard input is not open to others; send prompts to …/prompts and answers to …/permissions"
    )]
    Conversation {
        /// The session.
        id: String,
    },
    /// The agent has no such open question.
    #[error("the agent of {id:?} waits for no answer to {permission:?}; GET …/permissions lists what it waits for")]
    PermissionNotFound {
        /// The session.
        id: String,
        /// What was to be answered.
        permission: String,
    },
    /// Another answer was first.
    #[error("{permission:?} has been answered with {option:?} by {by}; the first answer counts")]
    PermissionAnswered {
        /// What was to be answered.
        permission: String,
        /// The answer.
        option: String,
        /// Who gave it.
        by: String,
    },
    /// The keeper of a turn does not answer.
    #[error("the keeper of turn {turn} of {id:?} does not answer; it is being replaced, try again")]
    KeeperSilent {
        /// The session.
        id: String,
        /// The turn.
        turn: u32,
    },
    /// Another server uses this home.
    #[error("{home} is in use by another promptd; stop that one, or give this one a --home of its own")]
    HomeInUse {
        /// The home.
        home: PathBuf,
    },
    /// Other users can write to the home.
    #[error("{path} {problem}, who could start agents here; run `{command}`, or choose another home with --home")]
    HomeNotPrivate {
        /// The folder.
        path: PathBuf,
        /// Why it is not private.
        problem: &'static str,
        /// The command that makes it private.
        command: String,
    },
    /// The server is about to stop.
    #[error("the server is shutting down; running agents go on, and the next server adopts them")]
    ShuttingDown,
    /// A file could not be used.
    #[error("cannot use {path}; check that it is writable")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal could not be appended to.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No such place in the journal.
    #[error(transparent)]
    Seek(#[from] SeekError),
}

fn how_to_get(install: Option<&str>) -> String {
    install.map_or_else(
        || "check its `command`".to_owned(),
        |install| format!("install it with `{install}`"),
    )
}

fn or_use(able: &[String]) -> String {
    if able.is_empty() {
        return String::new();
    }
    format!(" (agents that do: {})", able.join(", "))
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(" (did you mean {nearest:?}?)"))
}
