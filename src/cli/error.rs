//! What can go wrong on the command line, and the exit code that says so.

use std::io;
use std::path::PathBuf;

use crate::runtime::RuntimeError;
use crate::runtime::config::ConfigError;

/// The exit codes of the contract.
pub(crate) mod exit {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const NO_SERVER: u8 = 3;
    pub(crate) const TIMED_OUT: u8 = 124;
    pub(crate) const INTERRUPTED: u8 = 130;
    /// What a shell reports of a program that a closed pipe ended.
    pub(crate) const CLOSED_PIPE: u8 = 141;
}

/// A subcommand that could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The arguments do not fit.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers.
    #[error("no server at {place}: {reason}")]
    NoServer {
        /// Where we looked.
        place: String,
        /// What happened.
        reason: String,
    },
    /// The server said no.
    #[error("{detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What was wrong, in the server's words.
        detail: String,
    },
    /// The server said something that we do not understand.
    #[error("the server's answer cannot be read: {0}")]
    BadAnswer(String),
    /// The server could not be started.
    #[error("cannot start the server")]
    Start(#[from] RuntimeError),
    /// The server could not listen, or had to give up.
    #[error("cannot serve")]
    Serve(#[from] crate::api::ServeError),
    /// The client could not be set up.
    #[error("cannot set up the client")]
    Client(#[source] reqwest::Error),
    /// A file could not be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Standard output could not be written to.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// Anything else the system refused.
    #[error("the system refuses")]
    Io(#[source] io::Error),
}

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            // Of what the server refuses, what the caller can put right is usage; that it has too much to do is not.
            Self::Usage(_) | Self::Config(_) | Self::Refused { status: 400..=428, .. } => exit::USAGE,
            Self::NoServer { .. } => exit::NO_SERVER,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::CLOSED_PIPE,
            Self::Refused { .. }
            | Self::BadAnswer(_)
            | Self::Start(_)
            | Self::Serve(_)
            | Self::Client(_)
            | Self::File { .. }
            | Self::Output(_)
            | Self::Io(_) => exit::FAILED,
        }
    }

    /// Nothing has to be said: whoever read our output has gone, as `head` does.
    pub(super) fn is_silent(&self) -> bool {
        self.exit_code() == exit::CLOSED_PIPE
    }
}
