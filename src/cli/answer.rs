//! `promptd answer`: answers a permission question of an agent.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::error::{CliError, exit};
use crate::cli::follow;

const AFTER_HELP: &str = "\
An agent that was started with `run --permission ask` waits for the answer. `promptd ps` lists sessions that wait, and
`promptd attach SESSION` shows the question; there, a key answers it.

Examples:
  promptd ps --status waiting
  promptd answer 0193… 1.1.1 allow_once
  curl -X POST \"$URL/v1/sessions/0193…/permissions/1.1.1\" -d '{\"option\":\"allow_once\"}' \\
    -H \"authorization: Bearer $PROMPTD_TOKEN\" -H 'content-type: application/json'";

/// Answer a permission question of an agent
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

pub(super) async fn answer(client: &Client, args: &AnswerArgs) -> Result<u8, CliError> {
    follow::answer(client, &args.session, &args.permission, &args.option).await?;
    Ok(exit::DONE)
}
