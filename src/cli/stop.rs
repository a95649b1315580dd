//! `promptd stop`: ends a session's turn and its whole process tree.

use std::time::Duration;

use clap::Args;

use crate::cli::client::Stopped;
use crate::cli::client::{Client, Request, session_path};
use crate::cli::error::{CliError, exit};
use crate::cli::global::Global;
use crate::cli::stdio::{print, say};

const AFTER_HELP: &str = "\
Asks the agent first, then takes everything it started; the answer counts what is left.

Examples:
  promptd stop 0193…
  promptd stop 0193… --grace 0.5      less time to end by itself";

/// End a session's turn and all its processes
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StopArgs {
    /// The session
    id: String,
    /// Seconds the agent gets to end by itself
    #[arg(long, value_name = "SECONDS", value_parser = grace)]
    grace: Option<f64>,
}

pub(super) async fn stop(global: &Global, args: StopArgs) -> Result<u8, CliError> {
    let client = Client::new(global)?;
    let result = stop_with(&client, &args).await;
    client.leave().await;
    result
}

async fn stop_with(client: &Client, args: &StopArgs) -> Result<u8, CliError> {
    let body = args
        .grace
        .map_or_else(|| serde_json::json!({}), |grace| serde_json::json!({ "grace": grace }));
    let request = Request::post(session_path(&args.id, "/stop"), body.to_string().into_bytes());
    let wait = Duration::from_secs_f64(args.grace.unwrap_or_default());
    let stopped: Stopped = client.json(&request.allow(wait)).await?;
    print(&format!("survivors: {}\n", stopped.survivors))?;
    if stopped.survivors == 0 {
        return Ok(exit::DONE);
    }
    say("promptd: some processes could not be ended; they may wait in the kernel, or belong to another user");
    Ok(exit::FAILED)
}

/// A day is longer than anybody waits, and keeps the number one that a duration can hold.
const MAX_GRACE: f64 = 86_400.0;

fn grace(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=MAX_GRACE).contains(seconds));
    seconds.ok_or_else(|| "write seconds as a number from 0 to 86400, such as 5".to_owned())
}
