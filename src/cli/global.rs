//! The arguments of every subcommand.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;

use crate::cli::terminal::Colour;

/// Which server.
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
    /// When to print in colours; `auto` heeds `NO_COLOR` and `TERM=dumb`
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Colour,
}

impl Global {
    /// Whether standard output has colours.
    pub(crate) fn colours(&self) -> bool {
        self.color.on(io::stdout().is_terminal())
    }
}
