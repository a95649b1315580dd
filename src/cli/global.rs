//! Arguments of every subcommand, and a parser for arguments that have a fixed set of values.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;

use crate::cli::terminal::Colour;

/// The arguments of every subcommand.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where sessions, configuration and the control socket live [default: ~/.promptd]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PROMPTD_HOME",
        help_heading = "Which server"
    )]
    pub(crate) home: Option<PathBuf>,
    /// A remote server, such as `https://8080-id.e2b.app`; its token comes from `PROMPTD_TOKEN`
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "PROMPTD_URL",
        help_heading = "Which server"
    )]
    pub(crate) url: Option<String>,
    /// When to use colours; `auto` respects `NO_COLOR` and `TERM=dumb`
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Colour,
}

impl Global {
    /// Whether standard output has colours.
    pub(crate) fn colours(&self) -> bool {
        self.color.is_on(io::stdout().is_terminal())
    }
}

/// Parses one of `names`, which are those that serde has for `T`.
pub(crate) fn one_of<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| serde_json::from_value(name.into()))
}
