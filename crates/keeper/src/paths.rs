//! The names of a turn's files.

use std::path::{Path, PathBuf};

/// The environment variable that marks the processes of a turn.
pub(crate) const MARKER: &str = "PROMPTD_TURN";

/// The files of a turn, which exist while its processes live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnPaths {
    folder: PathBuf,
    turn: u32,
}

impl TurnPaths {
    /// The files of a turn in a session's folder.
    pub fn new(folder: &Path, turn: u32) -> Self {
        Self {
            folder: folder.to_owned(),
            turn,
        }
    }

    /// The session's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn turn(&self) -> u32 {
        self.turn
    }

    /// The agent's standard output. The keeper holds its `flock`.
    pub fn stdout(&self) -> PathBuf {
        self.named("stdout")
    }

    /// The agent's standard error.
    pub fn stderr(&self) -> PathBuf {
        self.named("stderr")
    }

    /// The prompt's text.
    pub fn prompt(&self) -> PathBuf {
        self.named("prompt")
    }

    /// The FIFO for standard input, if it stays open.
    pub fn stdin_fifo(&self) -> PathBuf {
        self.named("stdin")
    }

    /// The FIFO that an agent gets as its standard output if it refuses a file. A pump copies it to [`Self::stdout`].
    pub fn stdout_fifo(&self) -> PathBuf {
        self.named("pipe")
    }

    /// The progress of the setup.
    pub fn setup(&self) -> PathBuf {
        self.named("setup")
    }

    /// The time that the machine was paused; exists only after a pause.
    pub fn paused(&self) -> PathBuf {
        self.named("paused")
    }

    /// The name of the keeper's control socket in the folder.
    pub fn socket_name(&self) -> String {
        format!("turn-{}.sock", self.turn)
    }

    /// The environment variable that marks every process of the turn.
    pub fn marker(&self) -> (&'static str, String) {
        (
            MARKER,
            self.folder.join(format!("turn-{}", self.turn)).display().to_string(),
        )
    }

    /// With what the markers of all turns of a session begin: the variable and its value.
    pub(crate) fn markers(folder: &Path) -> String {
        format!("{MARKER}={}/turn-", folder.display())
    }

    /// All files of the turn.
    fn all(&self) -> [PathBuf; 8] {
        [
            self.stdout(),
            self.stderr(),
            self.prompt(),
            self.stdin_fifo(),
            self.stdout_fifo(),
            self.setup(),
            self.paused(),
            self.named("sock"),
        ]
    }

    fn named(&self, what: &str) -> PathBuf {
        self.folder.join(format!("turn-{}.{what}", self.turn))
    }

    /// Removes the files, when all their content is in the journal.
    pub(crate) fn remove_all(&self) {
        for path in self.all() {
            // A file that cannot be removed now is removed with the session's folder.
            let _gone = std::fs::remove_file(path);
        }
    }
}
