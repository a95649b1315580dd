//! `promptd doctor`: checks the installation, and says how to correct it.
//!
//! Changes nothing, and runs nothing but `--version` of agents.

mod access;
mod agents;
mod check;
mod machine;

use clap::Args;

use self::check::{Check, State, render};

use crate::cli::error::{CliError, exit};
use crate::cli::global::Global;
use crate::cli::stdio::print;
use crate::runtime::config::{self, Flags};
use crate::runtime::{Settings, agents as known_agents, configured, unusable_reason};

const AFTER_HELP: &str = "\
Exit code 1 if a check fails; warnings do not count.

Examples:
  promptd doctor
  promptd doctor --json | jq '.[] | select(.state != \"ok\")'";

/// Check agents, keys, authentication, workspace, disk, cgroup and platform
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// Print the checks as a JSON list
    #[arg(long)]
    json: bool,
}

pub(super) fn doctor(global: &Global, args: &DoctorArgs) -> Result<u8, CliError> {
    let checks = match Flags::from_environment(global.home.clone())
        .and_then(|flags| config::load(flags, &config::environment()))
    {
        Ok(settings) => all(&settings),
        Err(error) => vec![Check::fail(
            "configuration",
            error.to_string(),
            "correct it, and run promptd doctor again",
        )],
    };
    let text = if args.json {
        let text = serde_json::to_string_pretty(&checks).map_err(|error| CliError::BadAnswer(error.to_string()))?;
        format!("{text}\n")
    } else {
        render(&checks, global.colours())
    };
    print(&text)?;
    let failed = checks.iter().any(|check| check.state == State::Fail);
    Ok(if failed { exit::FAILED } else { exit::DONE })
}

fn all(settings: &Settings) -> Vec<Check> {
    let agents = known_agents(settings);
    let configured = configured(settings);
    let mut checks = vec![machine::configuration(settings)];
    checks.extend(agents::installed(&agents));
    checks.extend(agents::keys(&agents, &configured.environment));
    checks.push(access::auth(settings, configured.tokens, unusable_reason(settings)));
    checks.extend(access::token_file(settings));
    checks.extend([
        machine::git(which::which("git").ok().as_deref()),
        machine::writable("workspace", &settings.workspace, "--workspace"),
        machine::writable("home", &settings.home, "--home"),
    ]);
    checks.extend(access::private_home(settings));
    checks.extend([
        machine::disk(settings),
        machine::inotify(),
        machine::cgroup(),
        machine::platform(settings),
        machine::server(settings),
    ]);
    checks
}
