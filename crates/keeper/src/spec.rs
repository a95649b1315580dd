//! A keeper's task: JSON on its standard input, because it can contain secrets.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::KeeperError;
use promptd_model::RepoRequest;

/// A keeper's task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The session's folder.
    pub folder: PathBuf,
    /// The session's id, for the agent's environment.
    pub session: String,
    /// The turn.
    pub turn: u32,
    /// The attempt; starts at 1.
    pub attempt: u32,
    /// The program to start; `None` to continue where another keeper ended.
    pub launch: Option<Launch>,
    /// The journal's size when the server decided to start. Later records may be those of another keeper's start.
    pub journal_end: u64,
    /// The format of the agent's output, for the record of its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Where stdout and stderr begin in the turn's streams: after the output of earlier attempts.
    pub offsets: [u64; 2],
    /// Maximum seconds that the agent may run.
    pub timeout: Option<f64>,
    /// Maximum seconds without output.
    pub idle_timeout: Option<f64>,
    /// Maximum size of the journal, in bytes.
    pub session_bytes: u64,
    /// Free disk space, in bytes, below which the process tree is frozen.
    pub min_free_bytes: u64,
    /// How many files the agent may have open, if the server has raised its own limit.
    pub files: Option<u64>,
}

impl Spec {
    /// Reads the task from standard input, which is `/dev/null` afterwards.
    pub(crate) fn from_stdin() -> Result<Self, KeeperError> {
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text).map_err(KeeperError::Spec)?;
        let spec = serde_json::from_slice(&text).map_err(|error| KeeperError::Spec(error.into()))?;
        let null = File::open("/dev/null").map_err(KeeperError::System)?;
        nix::unistd::dup2_stdin(null).map_err(|errno| KeeperError::System(errno.into()))?;
        Ok(spec)
    }
}

/// A program to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// Its path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables in addition to the server's.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its standard input.
    pub stdin: Stdin,
    /// Its standard output is a pipe: it refuses a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdout_pipe: bool,
    /// What to do before the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetupSpec>,
}

/// What is done before an agent starts, in the process that becomes the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetupSpec {
    /// The repository to clone into the agent's working directory.
    pub repo: Option<RepoRequest>,
    /// The session's folder; the working directory must be inside.
    pub base: PathBuf,
    /// Commands that run in the working directory.
    pub commands: Vec<String>,
    /// The shell that runs them, with `-c`.
    pub shell: PathBuf,
}

/// The agent's standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// The turn's prompt file.
    Prompt,
    /// A FIFO that stays open until it is closed through the control socket.
    Open,
}
