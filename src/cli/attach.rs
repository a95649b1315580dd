//! `promptd attach`: follows a session from the start of its last turn.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::client::Client;
use crate::cli::error::{CliError, exit};
use crate::cli::follow::{Filter, Follow, OutputArgs, Printer, Until, exit_code, follow};
use crate::cli::terminal::{self, Colour, quit};

const AFTER_HELP: &str = "\
Follows until all turns have ended. Ctrl-C ends this command; the agent keeps running. On a terminal, a key answers a
question of the agent: the option's number, or y, n or a where they are shown.

Examples:
  promptd attach 0193…                      from the start of the last turn
  promptd attach 0193… --after 1200         from the record after 1200
  promptd attach 0193… --json | jq .seq
  promptd --url https://8080-id.e2b.app attach 0193…";

/// Follow the output of a session
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AttachArgs {
    /// The session
    id: String,
    /// Start after this record instead of at the last turn
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn attach(client: &Client, args: &AttachArgs, colour: Colour) -> Result<u8, CliError> {
    let session = client.session(&args.id).await?;
    let last = session.turns.last();
    let (after, from_turn) = match (args.after, last) {
        (Some(after), _) => (after, 0),
        // An older server does not say where the turn starts.
        (None, Some(last)) => (last.first_seq.map_or(0, |seq| seq.saturating_sub(1)), last.number),
        (None, None) => (0, 0),
    };
    if terminal::is_interactive() {
        leave_on_interrupt()?;
    }
    let mut printer = Printer::new(
        args.output.form(&session, colour, true),
        Filter {
            from_turn,
            ..Filter::default()
        },
    );
    let end = follow(
        Follow {
            client,
            session: &session.id,
            after,
            until: Until::Settled,
        },
        &mut printer,
    )
    .await?;
    let Some(end) = end else { return Ok(exit::DONE) };
    args.output.print_end(&session, &end, colour);
    Ok(exit_code(&end))
}

/// Makes Ctrl-C restore the terminal and end this process; the agent keeps running.
fn leave_on_interrupt() -> Result<(), CliError> {
    let mut signals = signal(SignalKind::interrupt()).map_err(CliError::Io)?;
    tokio::spawn(async move {
        signals.recv().await;
        quit(exit::INTERRUPTED)
    });
    Ok(())
}
