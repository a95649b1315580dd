//! Standard output for results; standard error for logs and messages, without secrets.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use tracing_subscriber::EnvFilter;

use crate::cli::error::CliError;
use crate::cli::terminal;
use crate::runtime::{ServerMask, config};
use promptd_mask::{Masker, Secrets};

/// The secrets of a server that runs in this process.
static SERVER: OnceLock<ServerMask> = OnceLock::new();

/// Those of the environment, before there is a server; made with the first line.
static ENVIRONMENT: OnceLock<Option<Arc<Masker>>> = OnceLock::new();

/// Sends our own logs to standard error, without colours: they are mostly read by machines.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        .with_ansi(false);
    // Fails only where a test has set one before.
    let _set = logs.try_init();
}

/// From now on a server's secrets stay out of the log, too.
pub(crate) fn hide(secrets: ServerMask) {
    // Only one server runs in a process; a second try to start it has the same secrets.
    let _known = SERVER.set(secrets);
}

/// A line on standard error; there is nobody to tell when that is closed.
pub(crate) fn say(line: &str) {
    let _written = writeln!(Stderr, "{line}");
}

/// Says what went wrong, with its causes.
pub(crate) fn complain(error: &dyn std::error::Error) {
    let mut text = format!("promptd: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    say(&text);
}

/// Writes text to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CliError::Output)
}

/// Standard error, without secrets. What is written at once is masked as one, and logs are written line by line.
#[derive(Debug)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        terminal::begin_line();
        match masker() {
            Some(masker) => io::stderr().write_all(&masker.bytes(bytes)),
            None => io::stderr().write_all(bytes),
        }
    }

    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn masker() -> Option<Arc<Masker>> {
    if let Some(server) = SERVER.get() {
        return server.get();
    }
    let of_environment = || {
        let mut secrets = Secrets::default();
        for (name, value) in config::environment() {
            secrets.add_env(&name, &value);
        }
        Masker::new(&secrets).map(Arc::new)
    };
    ENVIRONMENT.get_or_init(of_environment).clone()
}
