//! `promptd logs`: what a session's agent has written.

use clap::{Args, ValueEnum};

use crate::cli::client::Client;
use crate::cli::error::{CliError, exit};
use crate::cli::follow::{Filter, Follow, Form, Printer, Until, follow};
use crate::cli::global::Global;
use promptd_model::{Stream, View};

const AFTER_HELP: &str = "\
Prints the agent's exact bytes, its standard error to standard error.

Examples:
  promptd logs 0193…                              all of it, from the first turn on
  promptd logs 0193… --stream stdout --turn 2     one stream of one turn
  promptd logs 0193… -f                           and what comes, until the turns are over
  promptd logs 0193… --json                       the journal's records";

/// Print what a session's agent has written
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct LogsArgs {
    /// The session
    id: String,
    /// One of the two streams
    #[arg(long, value_enum)]
    stream: Option<StreamName>,
    /// One turn alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turn: Option<u32>,
    /// Go on until the session's turns are over
    #[arg(short, long)]
    follow: bool,
    /// Print the journal's records, one JSON document per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StreamName {
    Stdout,
    Stderr,
}

pub(super) async fn logs(global: &Global, args: LogsArgs) -> Result<u8, CliError> {
    let client = Client::new(global)?;
    let result = logs_with(&client, &args).await;
    client.leave().await;
    result
}

async fn logs_with(client: &Client, args: &LogsArgs) -> Result<u8, CliError> {
    let session = client.session(&args.id).await?;
    if let Some(turn) = args.turn.filter(|&turn| session.turn(turn).is_none() && !args.follow) {
        return Err(CliError::Usage(format!(
            "session {} has {} turns, and no turn {turn}",
            session.id,
            session.turns.len()
        )));
    }
    let stream = args.stream.map(|stream| match stream {
        StreamName::Stdout => Stream::Stdout,
        StreamName::Stderr => Stream::Stderr,
    });
    let until = match (args.follow, args.turn) {
        (true, Some(turn)) => Until::Turn(turn),
        (true, None) => Until::Settled,
        // What is written while we print belongs to the next call.
        (false, _) => Until::Seq(session.last_seq),
    };
    if until == Until::Seq(0) {
        return Ok(exit::DONE);
    }
    let after = args
        .turn
        .and_then(|turn| session.turn(turn)?.first_seq)
        .map_or(0, |seq| seq.saturating_sub(1));
    let form = if args.json { Form::Json(View::Raw) } else { Form::Raw };
    let mut printer = Printer::new(
        form,
        Filter {
            turn: args.turn,
            stream,
            ..Filter::default()
        },
    );
    follow(
        Follow {
            client,
            session: &session.id,
            after,
            until,
        },
        &mut printer,
    )
    .await?;
    Ok(exit::DONE)
}
