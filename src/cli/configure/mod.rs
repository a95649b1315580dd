//! `promptd configure`: sends the token and the environment of agents to the server of a home, over the control socket.

mod env_file;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use self::env_file::Variables;
use crate::cli::client::{Client, Request};
use crate::cli::error::{CliError, exit};
use crate::cli::global::Global;
use crate::cli::stdio::print;
use crate::runtime::config;

const AFTER_HELP: &str = "\
Sends the environment of this shell to the server of this home: PROMPTD_TOKEN as the token of the API, the other variables
as the environment of agents. PATH, HOME, other variables of the shell itself and PROMPTD_… are left out. The change
applies at once, replaces what was configured before, and survives a restart. The home keeps tokens only as digests.

Examples:
  promptd configure                                    in a sandbox: the variables it was created with
  promptd configure --env ANTHROPIC_API_KEY --keep-old adds one variable
  promptd configure --file .env                        from a file of KEY=VALUE lines, or *.toml
  PROMPTD_TOKEN=new promptd configure --env PROMPTD_TOKEN --keep-old
                                                       a second token; without --keep-old, the old one ends";

/// Variables of the shell and its terminal, which are of no use to an agent.
const SHELL_VARIABLES: [&str; 28] = [
    "_",
    "COLORTERM",
    "COLUMNS",
    "DBUS_SESSION_BUS_ADDRESS",
    "HOME",
    "HOSTNAME",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LINES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "NOTIFY_SOCKET",
    "OLDPWD",
    "PATH",
    "PORT",
    "PWD",
    "RUST_LOG",
    "SHELL",
    "SHLVL",
    "STY",
    "TERM",
    "TMUX",
    "TMUX_PANE",
    "USER",
    "XDG_RUNTIME_DIR",
];

const SHELL_PREFIXES: [&str; 6] = ["BASH_FUNC_", "SSH_", "SUDO_", "SYSTEMD_", "TERM_", "XDG_SESSION_"];

const OURS: &str = "PROMPTD_";
const TOKEN: &str = "PROMPTD_TOKEN";

/// Send a token and the environment of agents to the running server
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ConfigureArgs {
    /// Read a file of `KEY=VALUE` lines, or TOML (*.toml), instead of this shell's environment; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only this variable; may be repeated
    #[arg(short, long, value_name = "NAME")]
    env: Vec<String>,
    /// Keep the tokens and variables that are configured, and add these
    #[arg(long)]
    keep_old: bool,
}

/// The server's answer.
#[derive(Debug, Deserialize)]
struct Configured {
    tokens: usize,
    environment: Vec<String>,
}

/// What to send.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    tokens: Option<Vec<String>>,
    /// `None` if only the token was selected.
    environment: Option<Variables>,
}

pub(crate) async fn configure(global: &Global, args: ConfigureArgs) -> Result<u8, CliError> {
    if global.url.is_some() {
        let hint =
            "a server is configured on its own machine, over its control socket; leave out --url and PROMPTD_URL";
        return Err(CliError::Usage(hint.to_owned()));
    }
    let selection = match &args.file {
        Some(path) => select(read(path)?, &args.env)?,
        None if args.env.is_empty() => select(without_shell(config::environment()), &[])?,
        None => select(config::environment(), &args.env)?,
    };
    // A server that this process hosts must not use the new token as its own.
    config::forget_token();
    let client = Client::local(global.home.clone())?;
    let result = send(&client, selection, args.keep_old).await;
    client.leave().await;
    result
}

async fn send(client: &Client, selection: Selection, keep_old: bool) -> Result<u8, CliError> {
    let Selection { tokens, environment } = selection;
    let new_token = tokens.is_some();
    let body = json!({ "tokens": tokens, "environment": environment, "keep_old": keep_old });
    let request = Request::put("/v1/configuration", body.to_string().into_bytes());
    let configured: Configured = client.json(&request).await?;
    print(&summary(&configured, new_token))?;
    Ok(exit::DONE)
}

/// What is configured now, without values.
fn summary(configured: &Configured, new_token: bool) -> String {
    let token = match (configured.tokens, new_token) {
        (0, _) => format!("none; set {TOKEN} and run this again"),
        (_, false) => format!("as before ({} valid)", configured.tokens),
        (_, true) => format!("set ({} valid)", configured.tokens),
    };
    let environment = if configured.environment.is_empty() {
        "nothing beyond the server's own".to_owned()
    } else {
        configured.environment.join(", ")
    };
    format!("token:        {token}\nagents get:   {environment}\n")
}

fn read(path: &Path) -> Result<Variables, CliError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|source| CliError::File {
        path: path.to_owned(),
        source,
    })?;
    env_file::parse(path, &text).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

fn without_shell(mut variables: Variables) -> Variables {
    variables.retain(|name, _| {
        let prefixed = SHELL_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        !prefixed && !SHELL_VARIABLES.contains(&name.as_str())
    });
    variables
}

/// Selects the named variables, or all, and separates the token.
fn select(mut variables: Variables, names: &[String]) -> Result<Selection, CliError> {
    for name in names {
        if name.starts_with(OURS) && name != TOKEN {
            return Err(CliError::Usage(format!(
                "{name} is promptd's own; no agent gets it, and of these only {TOKEN} can be configured"
            )));
        }
        if !variables.contains_key(name) {
            let name = name.split('=').next().unwrap_or_default();
            return Err(CliError::Usage(format!(
                "{name} is not set here; set it, and give --env its name alone"
            )));
        }
    }
    if !names.is_empty() {
        variables.retain(|name, _| names.contains(name));
    }
    let token = variables.remove(TOKEN);
    let tokens = token.map(|token| config::split_tokens(&token).map(str::to_owned).collect::<Vec<_>>());
    variables.retain(|name, _| !name.starts_with(OURS));
    let only_token = !names.is_empty() && variables.is_empty();
    Ok(Selection {
        // An empty variable counts as unset.
        tokens: tokens.filter(|tokens| !tokens.is_empty()),
        environment: (!only_token).then_some(variables),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn names(selection: &Selection) -> Vec<&str> {
        selection
            .environment
            .iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    #[test]
    fn variables_of_the_shell_and_of_promptd_are_left_out() {
        let shell = variables(&[
            ("ANTHROPIC_API_KEY", "k"),
            ("E2B_SANDBOX_ID", "i"),
            ("HOME", "/h"),
            ("LANG", "C"),
            ("PATH", "/bin"),
            ("PROMPTD_HOME", "/p"),
            ("PROMPTD_TOKEN", "one, two"),
            ("SSH_AUTH_SOCK", "/s"),
            ("TERM_PROGRAM", "x"),
        ]);
        let selection = select(without_shell(shell), &[]).unwrap();
        assert_eq!(names(&selection), ["ANTHROPIC_API_KEY", "E2B_SANDBOX_ID", "LANG"]);
        assert_eq!(selection.tokens, Some(vec!["one".to_owned(), "two".to_owned()]));
    }

    #[test]
    fn named_variables_must_be_set() {
        let all = variables(&[("A", "1"), ("B", "2"), ("PROMPTD_TOKEN", "t"), ("PROMPTD_HOME", "/p")]);
        let select = |names: &[&str]| {
            select(
                all.clone(),
                &names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            (names(&select(&["A"]).unwrap()), select(&["A"]).unwrap().tokens),
            (vec!["A"], None)
        );
        let token = select(&["PROMPTD_TOKEN"]).unwrap();
        assert_eq!((token.tokens.unwrap(), token.environment), (vec!["t".to_owned()], None));
        for wrong in ["C", "PROMPTD_HOME", "A=s3cret"] {
            let error = select(&[wrong]).unwrap_err();
            assert_eq!(error.exit_code(), exit::USAGE);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        let unset = super::select(variables(&[("PROMPTD_TOKEN", " ")]), &[]).unwrap();
        assert_eq!((unset.tokens, unset.environment), (None, Some(Variables::new())));
    }

    #[test]
    fn summary_has_names_and_the_number_of_tokens() {
        let configured = Configured {
            tokens: 2,
            environment: vec!["A".to_owned(), "B".to_owned()],
        };
        assert_eq!(
            summary(&configured, true),
            "token:        set (2 valid)\nagents get:   A, B\n"
        );
    }
}
