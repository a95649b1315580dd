//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, beginning with 1.
        line: usize,
        /// The key, with its section: `limits.running`.
        key: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) => f.write_str(name),
            Self::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
        }
    }
}

/// A configuration that cannot be used. Each text says where, what, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that does not fit.
    #[error("{origin} is {value}: {expected}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// What it is.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A key that nobody reads.
    #[error("{origin} is no key of the configuration; {hint}")]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The nearest key, or all.
        hint: String,
    },
    /// The file is no TOML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, beginning with 1.
        line: usize,
        /// The column, beginning with 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No `HOME`, and nothing said instead.
    #[error("HOME is not set, so there is no default for {flag}; give {flag}")]
    NoUserHome {
        /// What would help.
        flag: &'static str,
    },
    /// No authentication where others can reach us.
    #[error(
        "auth is none, but {address} can be reached from other machines; listen on 127.0.0.1, use auth = token, or say that you mean it with --insecure-public"
    )]
    OpenDoor {
        /// The address.
        address: SocketAddr,
    },
}
