//! `promptd attach`: follows a session from its last turn on.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::client::Client;
use crate::cli::error::{CliError, exit};
use crate::cli::follow::{Filter, Follow, Look, Printer, Until, exit_code, follow};
use crate::cli::global::Global;
use crate::cli::terminal::{self, Colour, quit};

const AFTER_HELP: &str = "\
Follows until the session's turns are over; Ctrl-C leaves the agent running. On a terminal a key answers what the
agent asks: its number, or y, n and a where they are shown.

Examples:
  promptd attach 0193…                      from the start of the last turn
  promptd attach 0193… --after 1200         from where you were
  promptd attach 0193… --json | jq .seq
  promptd --url https://8080-id.e2b.app attach 0193…";

/// Follow a session's output
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AttachArgs {
    /// The session
    id: String,
    /// Begin after this record instead of at the start of the last turn
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    #[command(flatten)]
    look: Look,
}

pub(super) async fn attach(global: &Global, args: AttachArgs) -> Result<u8, CliError> {
    let client = Client::new(global)?;
    let result = attach_with(&client, &args, global.color).await;
    client.leave().await;
    result
}

async fn attach_with(client: &Client, args: &AttachArgs, colour: Colour) -> Result<u8, CliError> {
    let session = client.session(&args.id).await?;
    let last = session.turns.last();
    let (after, from_turn) = match (args.after, last) {
        (Some(after), _) => (after, 0),
        // A server that does not tell where the turn begins has to be read from the start.
        (None, Some(last)) => (last.first_seq.map_or(0, |seq| seq.saturating_sub(1)), last.number),
        (None, None) => (0, 0),
    };
    if terminal::is_read() {
        leave_on_interrupt()?;
    }
    let mut printer = Printer::new(
        args.look.form(&session, colour, true),
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
    args.look.last_words(&session, &end, colour);
    Ok(exit_code(&end))
}

/// From now on Ctrl-C leaves the agent running, and the terminal as it was.
fn leave_on_interrupt() -> Result<(), CliError> {
    let mut signals = signal(SignalKind::interrupt()).map_err(CliError::Io)?;
    tokio::spawn(async move {
        signals.recv().await;
        quit(exit::INTERRUPTED)
    });
    Ok(())
}
