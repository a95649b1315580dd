//! Standard output for results; standard error for logs and messages, without secrets.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::cli::error::CliError;
use crate::cli::terminal;
use crate::runtime::{ServerMask, config};
use promptd_mask::{Masker, Secrets};

/// The secrets of a server that is hosted in this process.
static SERVER: OnceLock<ServerMask> = OnceLock::new();

/// The secrets of the environment, until there is a server. Computed for the first line.
static ENVIRONMENT: OnceLock<Option<Arc<Masker>>> = OnceLock::new();

/// Sends log messages to standard error, without colours: mostly programs read them. `RUST_LOG` says which messages.
pub(crate) fn log_to_stderr(default: LevelFilter) {
    let (filter, problem) = match filter(std::env::var("RUST_LOG").ok().as_deref(), default) {
        Ok(filter) => (filter, None),
        Err(problem) => (Targets::new().with_default(default), Some(problem)),
    };
    let messages = tracing_subscriber::fmt::layer().with_writer(|| Stderr).with_ansi(false);
    // Fails only where a test has set one before.
    let _set = tracing_subscriber::registry().with(messages).with(filter).try_init();
    if let Some(problem) = problem {
        say(&problem);
    }
}

/// What the value of `RUST_LOG` selects; unset and empty are the same.
fn filter(value: Option<&str>, default: LevelFilter) -> Result<Targets, String> {
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
        return Ok(Targets::new().with_default(default));
    };
    // This parser takes the field filters of `[span{field=value}]` apart without a word.
    let parsed = if value.contains(['[', '{']) {
        None
    } else {
        value.parse().ok()
    };
    parsed.ok_or_else(|| {
        format!(
            "promptd: RUST_LOG is {value:?}, which is not understood; write a level (off, error, warn, info, debug or trace), or \
             a list such as promptd=debug,hyper=warn. The level is now {default}"
        )
    })
}

/// Masks the secrets of a server, too.
pub(crate) fn mask_secrets_of(secrets: ServerMask) {
    // A process hosts one server; a second attempt to start it has the same secrets.
    let _known = SERVER.set(secrets);
}

/// Prints a line to standard error; ignores that it is closed.
pub(crate) fn say(line: &str) {
    let _written = writeln!(Stderr, "{line}");
}

/// Prints an error with its causes.
pub(crate) fn print_error(error: &dyn std::error::Error) {
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

/// Prints text to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CliError::Output)
}

/// Standard error, with secrets masked. Each write is masked as a whole; log messages are written line by line.
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

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn rust_log_takes_levels_and_targets() {
        let enabled = |value: &str, target: &str, level: Level| {
            let filter = filter(Some(value), LevelFilter::INFO).unwrap();
            filter.would_enable(target, &level)
        };
        assert!(enabled("", "promptd", Level::INFO) && !enabled(" ", "promptd", Level::DEBUG));
        assert!(enabled("debug", "promptd_journal", Level::DEBUG));
        assert!(enabled("promptd=debug,hyper=warn", "promptd::api", Level::DEBUG));
        assert!(!enabled("promptd=debug,hyper=warn", "hyper::client", Level::INFO));
        assert!(enabled("warn,promptd=TRACE", "reqwest", Level::WARN));
    }

    #[test]
    fn a_wrong_rust_log_says_what_would_be_right() {
        for wrong in ["promptd=loud", "a=b=c", "[span{user=1}]=debug"] {
            let problem = filter(Some(wrong), LevelFilter::INFO).unwrap_err();
            assert!(
                problem.contains(wrong) && problem.contains("promptd=debug,hyper=warn"),
                "{problem}"
            );
        }
    }
}
