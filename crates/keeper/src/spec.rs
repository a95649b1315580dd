//! What the server tells a keeper: JSON on its standard input, since it can hold secrets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// The attempt, beginning with 1.
    pub attempt: u32,
    /// What to start; `None` to go on where another keeper ended.
    pub launch: Option<Launch>,
    /// The journal's end, in bytes, when the server decided to start: what came later may be another keeper's start.
    pub journal_end: u64,
    /// Where stdout and stderr begin in the turn's streams: behind the output of earlier attempts.
    pub offsets: [u64; 2],
    /// The most seconds the agent may run.
    pub timeout: Option<f64>,
    /// The most seconds it may write nothing.
    pub idle_timeout: Option<f64>,
    /// The journal's largest size, in bytes.
    pub session_bytes: u64,
    /// Free disk, in bytes, under which the tree is frozen.
    pub min_free_bytes: u64,
}

/// A program to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// Its path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment over the server's own.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its standard input.
    pub stdin: Stdin,
    /// What is to be done before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Preparation>,
}

/// What is done before an agent starts, in the process that becomes the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Preparation {
    /// The repository that has to stand in the agent's working directory.
    pub repo: Option<RepoRequest>,
    /// The session's own folder, which the working directory never leaves.
    pub base: PathBuf,
    /// Commands that run in the working directory.
    pub commands: Vec<String>,
    /// What runs them, with `-c`.
    pub shell: PathBuf,
}

/// A standard input that nobody leaves open by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// The turn's prompt file.
    Prompt,
    /// A FIFO, open until it is closed through the control socket.
    Open,
}
