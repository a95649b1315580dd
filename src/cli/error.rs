//! Errors of the command line, and their exit codes.

use std::io;
use std::path::PathBuf;

use crate::runtime::RuntimeError;
use crate::runtime::config::ConfigError;

/// Exit codes.
pub(crate) mod exit {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const NO_SERVER: u8 = 3;
    pub(crate) const TIMED_OUT: u8 = 124;
    pub(crate) const INTERRUPTED: u8 = 130;
    /// As a shell reports a program that a closed pipe has ended.
    pub(crate) const CLOSED_PIPE: u8 = 141;
}

/// An error of a subcommand.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Wrong arguments.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No server answers.
    #[error("no server at {address}: {reason}")]
    NoServer {
        /// The URL or the path of the control socket.
        address: String,
        /// Why.
        reason: String,
    },
    /// The server refused the request.
    #[error("{detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's message.
        detail: String,
    },
    /// The answer is not understood.
    #[error("the server's answer cannot be read: {0}")]
    BadAnswer(String),
    /// The server could not be started.
    #[error("cannot start the server")]
    Start(#[from] RuntimeError),
    /// The server could not listen, or failed.
    #[error("cannot serve")]
    Serve(#[from] crate::api::ServeError),
    /// The server ended though nobody asked it to.
    #[error(
        "the server has ended by itself: {0}; start it again: agents go on meanwhile, and the next server adopts them"
    )]
    Ended(String),
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
    /// Another system call failed.
    #[error("a system call failed")]
    Io(#[source] io::Error),
}

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            // Usage: what the caller can correct. That the server is busy is not.
            Self::Usage(_) | Self::Config(_) | Self::Refused { status: 400..=428, .. } => exit::USAGE,
            Self::NoServer { .. } => exit::NO_SERVER,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::CLOSED_PIPE,
            Self::Refused { .. }
            | Self::BadAnswer(_)
            | Self::Start(_)
            | Self::Serve(_)
            | Self::Ended(_)
            | Self::Client(_)
            | Self::File { .. }
            | Self::Output(_)
            | Self::Io(_) => exit::FAILED,
        }
    }

    /// No message: the reader of the output is gone, such as `head`.
    pub(super) fn is_silent(&self) -> bool {
        self.exit_code() == exit::CLOSED_PIPE
    }
}
