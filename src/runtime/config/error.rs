//! Errors of the configuration.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A configuration that cannot be used. Each message says where the mistake is and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file has a key or a value that is not allowed.
    #[error("{}:{line}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, its value and what would be right.
        problem: String,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A flag or an environment variable has a value that is not allowed.
    #[error("{name} {problem}")]
    Value {
        /// The flag or the variable.
        name: &'static str,
        /// The value, unless it is secret, and what would be right.
        problem: String,
    },
    /// The environment variables of the server cannot be used.
    #[error("{0}")]
    Arguments(String),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no `HOME`, and no flag instead.
    #[error("HOME is not set, so there is no default for {flag}; give {flag}")]
    NoUserHome {
        /// The flag to give.
        flag: &'static str,
    },
    /// No authentication on an address that others can reach.
    #[error(
        "auth is none, but {address} can be reached from other machines; listen on 127.0.0.1, use auth = token, or confirm it \
         with --insecure-public"
    )]
    PublicWithoutAuth {
        /// The address.
        address: SocketAddr,
    },
}
