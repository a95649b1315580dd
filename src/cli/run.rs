//! `promptd run`: a session of one turn, from the prompt to its exit code.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read as _};
use std::sync::Arc;

use clap::Args;
use serde::Deserialize;

use super::client::{Client, Request};
use super::error::{CliError, exit};
use super::events::Events;
use super::follow::{Follow, Until, exit_code, follow, summary};
use super::interrupts::Interrupts;
use super::output::{Filter, Form, Printer, print};
use super::{Global, say};
use crate::journal::{Kind, parse_head};
use crate::model::{RepoRequest, SessionId, SessionRequest};
use crate::sys;

const AFTER_HELP: &str = "\
Without a server this command hosts one itself; the agent goes on even when this process is killed.

Examples:
  promptd run -a shell 'echo hello'
  promptd run -a claude 'fix the failing test'
  git diff | promptd run -a codex -             the prompt is what stands on standard input
  promptd run --detach 'write the docs'         prints the session's id and leaves the agent running
  promptd run --json 'hi' | jq .type            the journal's records
  promptd run --env GITHUB_TOKEN 'open a PR'    passes on a variable of this shell
  promptd run --repo https://github.com/owner/name --setup 'npm ci' 'fix the failing test'

Ctrl-C once interrupts the turn, twice stops it.
Exit codes: 0 done, 1 the agent failed, 2 usage, 3 no server, 124 timed out, 130 interrupted.";

/// Run an agent on a prompt, and print what it says
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RunArgs {
    /// What the agent is to do; `-`, or nothing at all, reads it from standard input
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    /// The agent: claude, codex, gemini, shell, another one that `promptd doctor` names, or one from config.toml
    /// [default: the server's default agent]
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// The model, in the agent's words
    #[arg(short, long)]
    model: Option<String>,
    /// The working directory, relative to the workspace
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// A git repository to clone before; the agent works in it
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// The repository's branch, tag or commit [default: its default branch]
    #[arg(long = "ref", value_name = "REF", requires = "repo")]
    reference: Option<String>,
    /// The variable that has the repository's token; see --env
    #[arg(long, value_name = "NAME", requires = "repo")]
    token_env: Option<String>,
    /// A shell command to run before, behind the clone; may be repeated
    #[arg(long, value_name = "COMMAND")]
    setup: Vec<String>,
    /// A variable for the agent; `NAME` alone passes on this shell's
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The most seconds the turn may take
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,
    /// The session's id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<SessionId>,
    /// Print the journal's records, one JSON document per line
    #[arg(long, conflicts_with = "detach")]
    json: bool,
    /// Print the session's id and leave the agent running
    #[arg(short, long)]
    detach: bool,
}

/// What the answer to `POST /v1/sessions` tells.
#[derive(Debug, Deserialize)]
struct Created {
    id: String,
}

/// The turn that a new session begins with.
const FIRST_TURN: u32 = 1;

pub(super) async fn run(global: &Global, args: RunArgs) -> Result<u8, CliError> {
    let prompt = prompt(&args.prompt)?;
    let client = Arc::new(Client::new(global)?);
    let interrupts = Interrupts::listen(Arc::clone(&client))?;
    let result = run_with(&client, &interrupts, args, prompt).await;
    client.leave().await;
    result
}

async fn run_with(client: &Client, interrupts: &Interrupts, args: RunArgs, prompt: String) -> Result<u8, CliError> {
    let form = if args.json { Form::Json } else { Form::Raw };
    let detach = args.detach;
    let request = SessionRequest {
        agent: args.agent,
        prompt: Some(prompt),
        id: args.id,
        cwd: args.cwd,
        model: args.model,
        env: BTreeMap::from_iter(args.env),
        repo: args.repo.map(|url| RepoRequest {
            url,
            reference: args.reference,
            token_env: args.token_env,
            ..RepoRequest::default()
        }),
        setup: args.setup,
        timeout: args.timeout,
        ..SessionRequest::default()
    };
    let created = create(client, &request).await?;
    if detach {
        if client.is_host().await {
            has_started(client, &created.id).await?;
        }
        print(&format!("{}\n", created.id))?;
        return Ok(exit::DONE);
    }
    interrupts.mean(&created.id);
    let mut printer = Printer::new(form, Filter::default());
    let turn = Follow {
        client,
        session: &created.id,
        after: 0,
        until: Until::Turn(FIRST_TURN),
    };
    let end = match follow(turn, &mut printer).await {
        Ok(end) => end.ok_or_else(|| CliError::BadAnswer("the turn ended without a turn_ended record".to_owned()))?,
        Err(error) => {
            if !error.is_silent() {
                say(&format!(
                    "promptd: the agent goes on; `promptd attach {}` comes back to it",
                    created.id
                ));
            }
            return Err(error);
        }
    };
    if io::stderr().is_terminal() {
        say(&summary(&end));
    }
    Ok(exit_code(&end))
}

async fn create(client: &Client, request: &SessionRequest) -> Result<Created, CliError> {
    let body = serde_json::to_vec(request).map_err(|error| CliError::Usage(error.to_string()))?;
    // With a key, a broken connection is no reason to start a second agent.
    let key = u128::from_ne_bytes(sys::random().map_err(CliError::Io)?);
    client
        .json(&Request::post("/v1/sessions", body).idempotency_key(format!("promptd-run-{key:032x}")))
        .await
}

/// Waits until the agent runs: when we leave, nobody might be there to start it.
async fn has_started(client: &Client, id: &str) -> Result<(), CliError> {
    let mut events = Events::new(client, id, 0, true);
    loop {
        while let Some(lines) = events.next().await? {
            let mut heads = lines.split(|&byte| byte == b'\n').filter_map(parse_head);
            if heads.any(|head| matches!(head.kind, Kind::Other("started" | "turn_ended"))) {
                return Ok(());
            }
        }
        events.pause().await;
    }
}

fn prompt(words: &[String]) -> Result<String, CliError> {
    let prompt = match words {
        [] if io::stdin().is_terminal() => {
            return Err(CliError::Usage(
                "no prompt: write it behind `promptd run`, or `-` to read it from standard input".to_owned(),
            ));
        }
        [] => read_stdin()?,
        [dash] if dash == "-" => read_stdin()?,
        words => words.join(" "),
    };
    if prompt.trim().is_empty() {
        return Err(CliError::Usage("the prompt is empty".to_owned()));
    }
    Ok(prompt)
}

fn read_stdin() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(CliError::Io)?;
    String::from_utf8(bytes)
        .map_err(|error| CliError::Usage(format!("the prompt on standard input is not UTF-8: {error}")))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (
            text,
            std::env::var(text).map_err(|_| format!("{text} is not set in this shell; write NAME=VALUE"))?,
        ),
    };
    if name.is_empty() {
        Err("write NAME=VALUE".to_owned())
    } else {
        Ok((name.to_owned(), value))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    seconds.ok_or_else(|| "write seconds as a number above 0, such as 600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_given_or_passed_on() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("PATH"), Ok(("PATH".into(), std::env::var("PATH").unwrap())));
        assert!(variable("=x").is_err());
        assert!(variable("PROMPTD_SURELY_NOT_SET").is_err());
    }

    #[test]
    fn a_timeout_is_a_positive_number() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["0", "-1", "inf", "nan", "ten"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_words_are_one_prompt() {
        assert_eq!(prompt(&["fix".into(), "it".into()]).unwrap(), "fix it");
        assert!(matches!(prompt(&[" ".into()]), Err(CliError::Usage(_))));
    }
}
