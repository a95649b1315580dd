//! `promptd run`: a session of one turn, from the prompt to its exit code.

mod interrupts;
mod session_args;

use std::io::{self, IsTerminal as _, Read as _};
use std::sync::Arc;

use clap::Args;
use serde::Deserialize;

use self::interrupts::Interrupts;
use self::session_args::JobArgs;
use crate::cli::client::Events;
use crate::cli::client::Session;
use crate::cli::client::{Client, Request, session_path};
use crate::cli::error::{CliError, exit};
use crate::cli::follow::{Filter, Follow, Look, Printer, Until, exit_code, follow};
use crate::cli::global::Global;
use crate::cli::stdio::{print, say};
use crate::cli::terminal::Colour;
use promptd_model::{RecordKind, parse_head};
use promptd_model::{SessionRequest, View};
use promptd_sys as sys;

const AFTER_HELP: &str = "\
Without a server this command hosts one itself; the agent goes on even when this process is killed.

Examples:
  promptd run -a shell 'echo hello'
  promptd run -a claude 'fix the failing test'
  git diff | promptd run -a codex -             the prompt is what stands on standard input
  promptd run --detach 'write the docs'         prints the session's id and leaves the agent running
  promptd run --json 'hi' | jq .type            the journal's records
  promptd run --permission ask 'clean up'       a key answers what the agent asks: y, n, a or a number
  promptd run --session 0193… 'and the docs'    the next turn of a session
  promptd run --mcp-config .mcp.json 'hi'       with servers of tools
  promptd run --env GITHUB_TOKEN 'open a PR'    passes on a variable of this shell
  promptd run --repo https://github.com/owner/name --setup 'npm ci' 'fix the failing test'

Ctrl-C once interrupts the turn, twice stops it.
Exit codes: 0 done, 1 the agent failed, 2 usage, 3 no server, 124 timed out, 130 interrupted.";

/// Run an agent on a prompt, and print what it says
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RunArgs {
    /// What the agent is to do; `-`, or nothing at all, reads it from standard input
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    #[command(flatten)]
    job: JobArgs,
    /// Go on with this session instead: the prompt is its next turn
    #[arg(long, value_name = "ID", conflicts_with_all = JOB)]
    session: Option<String>,
    #[command(flatten)]
    look: Look,
    /// Print the session's id and leave the agent running
    #[arg(short, long, conflicts_with_all = ["json", "verbose"])]
    detach: bool,
}

/// What an existing session is already.
const JOB: [&str; 15] = [
    "agent",
    "model",
    "system_prompt",
    "permission",
    "allowed_tool",
    "max_turns",
    "mcp_config",
    "cwd",
    "repo",
    "reference",
    "token_env",
    "setup",
    "env",
    "timeout",
    "id",
];

/// What the answer to `POST …/prompts` tells.
#[derive(Debug, Deserialize)]
struct Prompted {
    turn: u32,
}

/// The turn that a new session begins with.
const FIRST_TURN: u32 = 1;

/// The turn that is run.
struct Begun {
    session: Session,
    turn: u32,
    /// It comes behind this record.
    after: u64,
}

pub(crate) async fn run(global: &Global, args: RunArgs) -> Result<u8, CliError> {
    let prompt = prompt(&args.prompt)?;
    let client = Arc::new(Client::new(global)?);
    let interrupts = Interrupts::listen(Arc::clone(&client))?;
    let result = run_with(&client, &interrupts, args, prompt, global.color).await;
    client.leave().await;
    result
}

async fn run_with(
    client: &Client,
    interrupts: &Interrupts,
    args: RunArgs,
    prompt: String,
    colour: Colour,
) -> Result<u8, CliError> {
    let begun = match &args.session {
        Some(id) => go_on(client, id, &prompt).await?,
        None => create(client, &args.job.request(prompt)?).await?,
    };
    let id = &begun.session.id;
    if args.detach {
        if client.is_host().await {
            has_started(client, &begun).await?;
        }
        print(&format!("{id}\n"))?;
        return Ok(exit::DONE);
    }
    interrupts.mean(id);
    let filter = Filter {
        turn: Some(begun.turn),
        ..Filter::default()
    };
    let mut printer = Printer::new(args.look.form(&begun.session, colour, false), filter);
    let turn = Follow {
        client,
        session: id,
        after: begun.after,
        until: Until::Turn(begun.turn),
    };
    let end = match follow(turn, &mut printer).await {
        Ok(end) => end.ok_or_else(|| CliError::BadAnswer("the turn ended without a turn_ended record".to_owned()))?,
        Err(error) => {
            if !error.is_silent() {
                say(&format!(
                    "promptd: the agent goes on; `promptd attach {id}` comes back to it"
                ));
            }
            return Err(error);
        }
    };
    args.look.last_words(&begun.session, &end, colour);
    Ok(exit_code(&end))
}

async fn create(client: &Client, request: &SessionRequest) -> Result<Begun, CliError> {
    let body = serde_json::to_vec(request).map_err(|error| CliError::Usage(error.to_string()))?;
    let session = client.json(&once(Request::post("/v1/sessions", body))?).await?;
    Ok(Begun {
        session,
        turn: FIRST_TURN,
        after: 0,
    })
}

async fn go_on(client: &Client, id: &str, prompt: &str) -> Result<Begun, CliError> {
    let session = client.session(id).await?;
    let after = session.last_seq;
    let body = serde_json::json!({ "prompt": prompt }).to_string().into_bytes();
    let request = once(Request::post(session_path(id, "/prompts"), body))?;
    let Prompted { turn } = client.json(&request).await?;
    Ok(Begun { session, turn, after })
}

/// With a key, a broken connection is no reason to start a second agent.
fn once(request: Request) -> Result<Request, CliError> {
    let key = u128::from_ne_bytes(sys::random().map_err(CliError::Io)?);
    Ok(request.idempotency_key(format!("promptd-run-{key:032x}")))
}

/// Waits until the agent runs: when we leave, nobody might be there to start it.
async fn has_started(client: &Client, begun: &Begun) -> Result<(), CliError> {
    let mut events = Events::new(client, &begun.session.id, begun.after, true, View::Raw);
    loop {
        while let Some(lines) = events.next().await? {
            let mut heads = lines.split(|&byte| byte == b'\n').filter_map(parse_head);
            if heads
                .any(|head| head.turn == begun.turn && matches!(head.kind, RecordKind::Other("started" | "turn_ended")))
            {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_words_are_one_prompt() {
        assert_eq!(prompt(&["fix".into(), "it".into()]).unwrap(), "fix it");
        assert!(matches!(prompt(&[" ".into()]), Err(CliError::Usage(_))));
    }
}
