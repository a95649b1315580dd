//! `promptd doctor`: what is there, what is missing, and what to do.
//!
//! Changes nothing and calls nobody but the agents' own `--version`.

mod access;
mod checks;

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use crate::cli::error::{CliError, exit};
use crate::cli::global::Global;
use crate::cli::stdio::print;
use crate::cli::terminal::Paint;
use crate::runtime::config::{self, Flags};

const AFTER_HELP: &str = "\
Exit code 1 when something fails; warnings do not count.

Examples:
  promptd doctor
  promptd doctor --json | jq '.[] | select(.state != \"ok\")'";

/// Check agents, keys, who may use the API, workspace, disk, cgroup and platform
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// Print the checks as a JSON list
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// What.
    name: String,
    /// How it came out.
    state: State,
    /// What is the case.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::Ok,
            detail: detail.into(),
            hint: None,
        }
    }

    fn warn(name: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            state: State::Warn,
            hint: Some(hint.into()),
            ..Self::ok(name, detail)
        }
    }

    fn fail(name: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(name, detail, hint)
        }
    }
}

pub(super) fn doctor(global: &Global, args: &DoctorArgs) -> Result<u8, CliError> {
    let checks = match Flags::from_environment(global.home.clone())
        .and_then(|flags| config::load(flags, &config::environment()))
    {
        Ok(settings) => checks::all(&settings),
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

fn render(checks: &[Check], colours: bool) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (word, paint) = match check.state {
            State::Ok => ("ok  ", Paint::Good),
            State::Warn => ("warn", Paint::Busy),
            State::Fail => ("fail", Paint::Bad),
        };
        let word = if colours { paint.apply(word) } else { word.to_owned() };
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{word}  {:width$}  {}", check.name, check.detail);
        if let Some(hint) = &check.hint {
            let _written = writeln!(text, "      {:width$}  → {hint}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_tells_the_state_and_what_to_do() {
        let checks = [
            Check::ok("home", "writable"),
            Check::fail("workspace", "read-only", "mount it anew"),
        ];
        let expected = "ok    home       writable\nfail  workspace  read-only\n                 → mount it anew\n";
        assert_eq!(render(&checks, false), expected);
    }
}
