//! `promptd run`: runs one turn, prints its output and exits with its exit code.

mod interrupts;
mod session_args;

use std::io::{self, IsTerminal as _, Read as _};
use std::sync::Arc;

use clap::Args;
use serde::Deserialize;

use self::interrupts::Interrupts;
use self::session_args::SessionArgs;
use crate::cli::client::Events;
use crate::cli::client::Session;
use crate::cli::client::{Client, Request, session_path};
use crate::cli::error::{CliError, exit};
use crate::cli::follow::{Filter, Follow, OutputArgs, Printer, Until, exit_code, exit_code_of_command, follow};
use crate::cli::stdio::{print, say};
use crate::cli::terminal::Colour;
use promptd_model::{RecordKind, parse_head};
use promptd_model::{SessionRequest, View};
use promptd_sys as sys;

const AFTER_HELP: &str = "\
Without a server this command hosts one itself. The agent keeps running even if this process is killed.

Examples:
  promptd run -a shell 'echo hello'
  promptd run -a claude 'fix the failing test'
  git diff | promptd run -a codex -             reads the prompt from standard input
  promptd run --detach 'write the docs'         prints the session's id; the agent keeps running
  promptd run --json 'hi' | jq .type            the journal's records
  promptd run --permission ask 'clean up'       a key answers the agent's questions: y, n, a or a number
  promptd run --session 0193… 'and the docs'    the next turn of a session
  promptd run --mcp-config .mcp.json 'hi'       with MCP servers
  promptd run --env GITHUB_TOKEN 'open a PR'    gives the agent a variable of this shell
  promptd run --repo https://github.com/owner/name --setup 'npm ci' 'fix the failing test'

Ctrl-C once interrupts the turn, twice stops it.
Exit codes: 0 done, 1 the agent failed, 2 usage, 3 no server, 124 timed out, 130 interrupted. A plain command (the agent
shell, or a configured one that writes plain text) that fails by itself ends with its own exit code, 1 to 123.";

/// Run an agent on a prompt, and print its answer
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RunArgs {
    /// The prompt; `-`, or none, reads it from standard input
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    #[command(flatten)]
    session_args: SessionArgs,
    /// Add a turn to this session instead of creating one
    #[arg(long, value_name = "ID", conflicts_with = "SessionArgs")]
    session: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    /// Print the session's id and exit; the agent keeps running
    #[arg(short, long, conflicts_with_all = ["json", "verbose"])]
    detach: bool,
}

/// The answer to `POST …/prompts`.
#[derive(Debug, Deserialize)]
struct Prompted {
    turn: u32,
}

/// The number of a new session's first turn.
const FIRST_TURN: u32 = 1;

/// The turn that runs.
struct StartedTurn {
    session: Session,
    turn: u32,
    /// Its records come after this one.
    after: u64,
}

pub(crate) async fn run(client: Arc<Client>, args: RunArgs, colour: Colour) -> Result<u8, CliError> {
    let prompt = prompt(&args.prompt)?;
    let interrupts = Interrupts::listen(Arc::clone(&client))?;
    let client = &*client;
    let started = match &args.session {
        Some(id) => add_turn(client, id, &prompt).await?,
        None => create(client, &args.session_args.request(prompt)?).await?,
    };
    let id = &started.session.id;
    if args.detach {
        if client.is_host().await {
            wait_for_agent(client, &started).await?;
        }
        print(&format!("{id}\n"))?;
        return Ok(exit::DONE);
    }
    interrupts.apply_to(id);
    let filter = Filter {
        turn: Some(started.turn),
        ..Filter::default()
    };
    let mut printer = Printer::new(args.output.form(&started.session, colour, false), filter);
    let turn = Follow {
        client,
        session: id,
        after: started.after,
        until: Until::Turn(started.turn),
    };
    let end = match follow(turn, &mut printer).await {
        Ok(end) => end.ok_or_else(|| CliError::BadAnswer("the turn ended without a turn_ended record".to_owned()))?,
        Err(error) => {
            if !error.is_silent() {
                say(&format!(
                    "promptd: the agent keeps running; `promptd attach {id}` follows it again"
                ));
            }
            return Err(error);
        }
    };
    args.output.print_end(&started.session, &end, colour);
    let is_command = !started.session.has_updates();
    let own = exit_code_of_command(&end).filter(|_| is_command);
    Ok(own.unwrap_or_else(|| exit_code(&end)))
}

async fn create(client: &Client, request: &SessionRequest) -> Result<StartedTurn, CliError> {
    let body = serde_json::to_vec(request).map_err(|error| CliError::Usage(error.to_string()))?;
    let session = client.json(&with_key(Request::post("/v1/sessions", body))?).await?;
    Ok(StartedTurn {
        session,
        turn: FIRST_TURN,
        after: 0,
    })
}

async fn add_turn(client: &Client, id: &str, prompt: &str) -> Result<StartedTurn, CliError> {
    let session = client.session(id).await?;
    let after = session.last_seq;
    let body = serde_json::json!({ "prompt": prompt }).to_string().into_bytes();
    let request = with_key(Request::post(session_path(id, "/prompts"), body))?;
    let Prompted { turn } = client.json(&request).await?;
    Ok(StartedTurn { session, turn, after })
}

/// Adds a key, so that a request that is sent again does not start a second agent.
fn with_key(request: Request) -> Result<Request, CliError> {
    let key = u128::from_ne_bytes(sys::random_bytes().map_err(CliError::Io)?);
    Ok(request.idempotency_key(format!("promptd-run-{key:032x}")))
}

/// Waits until the agent runs: if this process hosts the server, nobody else would start it.
async fn wait_for_agent(client: &Client, started: &StartedTurn) -> Result<(), CliError> {
    let mut events = Events::new(client, &started.session.id, started.after, true, View::Raw);
    loop {
        while let Some(lines) = events.next().await? {
            let mut heads = lines.split(|&byte| byte == b'\n').filter_map(parse_head);
            if heads.any(|head| {
                head.turn == started.turn && matches!(head.kind, RecordKind::Other("started" | "turn_ended"))
            }) {
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
                "no prompt; write it after `promptd run`, or `-` to read it from standard input".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_to_a_prompt() {
        assert_eq!(prompt(&["fix".into(), "it".into()]).unwrap(), "fix it");
        assert!(matches!(prompt(&[" ".into()]), Err(CliError::Usage(_))));
    }
}
