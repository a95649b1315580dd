//! `promptd run`: runs one turn, prints its output and exits with its exit code.

mod interrupts;
mod prompt;
mod session_args;

use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};

use self::interrupts::Interrupts;
use self::prompt::Attachments;
use self::session_args::{SESSION_ONLY, SessionArgs};
use crate::cli::client::Events;
use crate::cli::client::Session;
use crate::cli::client::{Client, Request, session_path};
use crate::cli::error::{CliError, exit};
use crate::cli::follow::{Filter, Follow, OutputArgs, Printer, Until, exit_code, exit_code_of_command, follow};
use crate::cli::global::one_of;
use crate::cli::stdio::{print, say};
use crate::cli::terminal::Colour;
use promptd_model::{PromptContent, RecordKind, parse_head};
use promptd_model::{SessionRequest, TurnOptions, View, When};
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
  promptd run --session 0193… --when now 'tests only, please'
                                                a message for the agent that works
  promptd run --session 0193… --fresh 'again'   the agent begins a new conversation in this session
  promptd run --image screen.png 'what is wrong here?'
  promptd run --file <(git diff) 'review this'  a file, or what a command prints
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
    /// Add a turn to this session instead of creating one. --model, --permission and --max-turns then count for this turn
    #[arg(long, value_name = "ID", conflicts_with_all = SESSION_ONLY)]
    session: Option<String>,
    /// With --session: the agent begins a new conversation, and knows nothing of the turns before
    #[arg(long, requires = "session")]
    fresh: bool,
    /// With --session: `next`: the prompt is the next turn. `now`: it goes to the agent that works, if it takes messages then
    /// [default: next]
    #[arg(long, value_name = "WHEN", requires = "session", value_parser = one_of::<When>(&["now", "next"]))]
    when: Option<When>,
    #[command(flatten)]
    attachments: Attachments,
    #[command(flatten)]
    output: OutputArgs,
    /// Print the session's id and exit; the agent keeps running
    #[arg(short, long, conflicts_with_all = ["json", "verbose"])]
    detach: bool,
}

/// The body of `POST …/prompts`. What is not asked for is left out: a server of an earlier version may not know it.
#[derive(Debug, Serialize)]
struct NextPrompt {
    prompt: PromptContent,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fresh: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<When>,
    #[serde(flatten)]
    options: TurnOptions,
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
    /// The type of the record that shows that the agent got the prompt.
    begins_with: &'static str,
}

pub(crate) async fn run(client: Arc<Client>, args: RunArgs, colour: Colour) -> Result<u8, CliError> {
    let prompt = prompt::prompt(&args.prompt, &args.attachments)?;
    if args.fresh && args.when == Some(When::Now) {
        let hint = "--fresh begins a new conversation, and with --when now the agent is in the middle of one; leave out one of them";
        return Err(CliError::Usage(hint.to_owned()));
    }
    let interrupts = Interrupts::listen(Arc::clone(&client))?;
    let client = &*client;
    let started = match &args.session {
        Some(id) => {
            let next = NextPrompt {
                prompt,
                fresh: args.fresh,
                when: args.when,
                options: args.session_args.turn_options(),
            };
            add_turn(client, id, &next).await?
        }
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
        begins_with: "started",
    })
}

async fn add_turn(client: &Client, id: &str, prompt: &NextPrompt) -> Result<StartedTurn, CliError> {
    let session = client.session(id).await?;
    let after = session.last_seq;
    let body = serde_json::to_vec(prompt).map_err(|error| CliError::Usage(error.to_string()))?;
    let request = with_key(Request::post(session_path(id, "/prompts"), body))?;
    let Prompted { turn } = client.json(&request).await?;
    let begins_with = if prompt.when == Some(When::Now) {
        "stdin"
    } else {
        "started"
    };
    Ok(StartedTurn {
        session,
        turn,
        after,
        begins_with,
    })
}

/// Adds a key, so that a request that is sent again does not start a second agent.
fn with_key(request: Request) -> Result<Request, CliError> {
    let key = u128::from_ne_bytes(sys::random_bytes().map_err(CliError::Io)?);
    Ok(request.idempotency_key(format!("promptd-run-{key:032x}")))
}

/// Waits until the agent has its prompt: if this process hosts the server, nobody else would give it.
async fn wait_for_agent(client: &Client, started: &StartedTurn) -> Result<(), CliError> {
    let mut events = Events::new(client, &started.session.id, started.after, true, View::Raw);
    loop {
        while let Some(lines) = events.next().await? {
            let mut heads = lines.split(|&byte| byte == b'\n').filter_map(parse_head);
            let is_begun = |kind: RecordKind<'_>| matches!(kind, RecordKind::Other(kind) if kind == started.begins_with || kind == "turn_ended");
            if heads.any(|head| head.turn == started.turn && is_begun(head.kind)) {
                return Ok(());
            }
        }
        events.pause().await;
    }
}
