//! The flags of the server and their environment variables: clap reads both, and the flag wins.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, Command, FromArgMatches as _};

use super::error::ConfigError;
use super::values;
use crate::runtime::settings::{AuthMode, Listen};

/// The server's flags and variables; `None` where neither is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Flags {
    /// From `--home`, which every subcommand has.
    #[arg(skip)]
    pub home: Option<PathBuf>,
    /// Where to listen: `IP:PORT` or `unix:PATH`; may be repeated, or have commas between addresses [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDR", env = "PROMPTD_LISTEN", value_delimiter = ',')]
    pub listen: Vec<Listen>,
    /// The directory in which agents work [default: ~/workspace]
    #[arg(short, long, value_name = "DIR", env = "PROMPTD_WORKSPACE")]
    pub workspace: Option<PathBuf>,
    /// Who may use the API [default: token; on loopback everybody as long as no token is set]
    #[arg(long, value_enum, value_name = "MODE", env = "PROMPTD_AUTH")]
    pub auth: Option<AuthMode>,
    /// Confirm `--auth none` on an address that others can reach
    #[arg(
        long,
        value_name = "BOOL",
        env = "PROMPTD_INSECURE_PUBLIC",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub insecure_public: Option<bool>,
    /// The configuration file [default: config.toml in the home]
    #[arg(short, long, value_name = "FILE", env = "PROMPTD_CONFIG")]
    pub config: Option<PathBuf>,
    /// The agent where a request names none [default: claude]
    #[arg(long, value_name = "NAME", env = "PROMPTD_DEFAULT_AGENT")]
    pub default_agent: Option<String>,
    /// How long a shutdown may take [default: 10]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PROMPTD_GRACE",
        value_parser = values::seconds_from_text
    )]
    pub grace: Option<Duration>,
    /// Stop the agents, too, when the server stops
    #[arg(
        long,
        value_name = "BOOL",
        env = "PROMPTD_STOP_AGENTS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub stop_agents: Option<bool>,
}

impl Flags {
    /// The environment variables alone, for a subcommand that does not have the server's flags.
    pub fn from_environment(home: Option<PathBuf>) -> Result<Self, ConfigError> {
        let command = prepare_variables(Self::augment_args(Command::new("promptd").no_binary_name(true)));
        let flags = command
            .try_get_matches_from(std::iter::empty::<OsString>())
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| ConfigError::Arguments(describe(&error)))?;
        Ok(Self { home, ..flags })
    }
}

/// Names the variable instead of the flag, which nobody gave.
fn describe(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let problem = lines.collect::<Vec<_>>().join(" ");
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return problem;
    };
    let name = flag.split([' ', '[', '=']).next().unwrap_or_default();
    problem
        .replacen("error", &variable_of(name), 1)
        .replace(&format!(" for '{flag}'"), "")
}

/// Keeps the values of variables out of `--help`.
pub fn prepare_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| arg.hide_env_values(true));
    command.mut_subcommands(prepare_variables)
}

/// The text of an error about a variable's value, where its flag is not among the arguments.
pub fn variable_error(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = flag.split([' ', '[', '=']).next()?;
    let short = name.strip_prefix('-').and_then(|name| name.get(..2));
    let is_given = args.iter().filter_map(|arg| arg.to_str()).any(|arg| {
        let is_short = !arg.starts_with("--") && short.is_some_and(|short| arg.starts_with(short));
        arg.starts_with(name) || is_short
    });
    let is_set = std::env::var_os(variable_of(name)).is_some();
    (is_set && !is_given).then(|| describe(error))
}

/// The environment variable of a flag.
fn variable_of(flag: &str) -> String {
    format!(
        "PROMPTD_{}",
        flag.trim_start_matches('-').replace('-', "_").to_uppercase()
    )
}
