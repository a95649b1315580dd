//! `promptd answer`: answers what an agent asks.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::error::{CliError, exit};
use crate::cli::follow;
use crate::cli::global::Global;

const AFTER_HELP: &str = "\
An agent that was started with `run --permission ask` waits for it; `promptd ps` shows who waits, and
`promptd attach SESSION` shows the question, where a key answers it.

Examples:
  promptd ps --status waiting
  promptd answer 0193… 1.1.1 allow_once
  curl -X POST \"$URL/v1/sessions/0193…/permissions/1.1.1\" -d '{\"option\":\"allow_once\"}' \\
    -H \"authorization: Bearer $PROMPTD_TOKEN\" -H 'content-type: application/json'";

/// Answer what an agent asks
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AnswerArgs {
    /// The session
    session: String,
    /// The question's id
    permission: String,
    /// One of its options: the option's id, or its kind, such as `allow_once` or `reject_once`
    option: String,
}

pub(super) async fn answer(global: &Global, args: AnswerArgs) -> Result<u8, CliError> {
    let client = Client::new(global)?;
    let answered = follow::answer(&client, &args.session, &args.permission, &args.option).await;
    client.leave().await;
    answered.map(|()| exit::DONE)
}
