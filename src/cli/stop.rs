//! `promptd stop`: ends the running turn of a session and all its processes.

use std::time::Duration;

use clap::Args;

use crate::cli::client::Stopped;
use crate::cli::client::{Client, Request, session_path};
use crate::cli::error::{CliError, exit};
use crate::cli::stdio::{print, say};

const AFTER_HELP: &str = "\
First asks the agent to end, then kills every process that it started. Prints how many processes are left.

Examples:
  promptd stop 0193…
  promptd stop 0193… --grace 0.5      less time to end by itself";

/// End the running turn of a session and all its processes
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StopArgs {
    /// The session
    id: String,
    /// Seconds that the agent has to end by itself
    #[arg(long, value_name = "SECONDS", value_parser = grace)]
    grace: Option<f64>,
}

pub(super) async fn stop(client: &Client, args: &StopArgs) -> Result<u8, CliError> {
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
    say("promptd: some processes could not be killed; they wait in the kernel, or belong to another user");
    Ok(exit::FAILED)
}

/// A day: no agent needs longer to end.
const MAX_GRACE: f64 = 86_400.0;

fn grace(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=MAX_GRACE).contains(seconds));
    seconds.ok_or_else(|| "write seconds as a number from 0 to 86400, such as 5".to_owned())
}
