//! `promptd logs`: prints the output of a session's agent.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::error::{CliError, exit};
use crate::cli::follow::{Filter, Follow, Form, Printer, Until, follow};
use crate::cli::global::one_of;
use promptd_model::{Stream, View};

const AFTER_HELP: &str = "\
Prints the exact bytes of the agent; its standard error goes to standard error.

Examples:
  promptd logs 0193…                              all turns
  promptd logs 0193… --stream stdout --turn 2     one stream of one turn
  promptd logs 0193… -f                           follow until all turns have ended
  promptd logs 0193… --json                       the journal's records";

/// Print the output of a session's agent
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct LogsArgs {
    /// The session
    id: String,
    /// Only this stream
    #[arg(long, value_parser = one_of::<Stream>(&["stdout", "stderr"]))]
    stream: Option<Stream>,
    /// Only this turn
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turn: Option<u32>,
    /// Follow until all turns have ended
    #[arg(short, long)]
    follow: bool,
    /// Print the journal's records, one JSON document per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn logs(client: &Client, args: &LogsArgs) -> Result<u8, CliError> {
    let session = client.session(&args.id).await?;
    if let Some(turn) = args.turn.filter(|&turn| session.turn(turn).is_none() && !args.follow) {
        return Err(CliError::Usage(format!(
            "session {} has {} turns, and no turn {turn}",
            session.id,
            session.turns.len()
        )));
    }
    let until = match (args.follow, args.turn) {
        (true, Some(turn)) => Until::Turn(turn),
        (true, None) => Until::Settled,
        // Without --follow, only what was there at the start.
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
            stream: args.stream,
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
