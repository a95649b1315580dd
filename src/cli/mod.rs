//! The command line: one subcommand per folder or file.
//!
//! `serve` runs the server. The others are clients of a server, over the home's control socket or `--url`. If the home has no
//! server, a client hosts one in its own process and uses the same API.
//!
//! Promises: standard output has the result and nothing else; messages go to standard error; exit codes are those of
//! [`error::exit`]. May use every other module; no other module may use it.

mod answer;
mod attach;
mod client;
mod configure;
mod doctor;
mod error;
mod follow;
mod global;
mod logs;
mod openapi;
mod ps;
mod run;
mod serve;
mod show;
mod stdio;
mod stop;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use self::client::Client;
use self::error::{CliError, exit};
use self::global::Global;
use self::stdio::{log_to_stderr, print_error};
use crate::runtime::config;
use promptd_sys as sys;

/// Stack of a worker or blocking thread; only used pages take memory.
const THREAD_STACK: usize = 1 << 20;

/// Maximum worker threads: the work is system calls, and more threads would only take memory from agents.
const MAX_WORKERS: usize = 4;

const AFTER_HELP: &str = "\
Examples:
  promptd run -a shell 'echo hello'             run a prompt now, without a server
  promptd run -a claude 'fix the failing test'  let claude work in ~/workspace
  promptd serve                                 listen on 127.0.0.1:8080
  promptd ps                                    list sessions

Exit codes: 0 done, 1 the agent failed, 2 usage, 3 no server, 124 timed out, 130 interrupted.";

/// Run coding agents: a prompt goes in, a detached agent runs, every byte comes out
#[derive(Debug, Parser)]
#[command(name = "promptd", version, after_help = AFTER_HELP, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Run(Box<run::RunArgs>),
    Attach(attach::AttachArgs),
    Answer(answer::AnswerArgs),
    Ps(ps::PsArgs),
    Logs(logs::LogsArgs),
    Stop(stop::StopArgs),
    Configure(configure::ConfigureArgs),
    Doctor(doctor::DoctorArgs),
    Openapi(openapi::OpenapiArgs),
}

/// Runs the subcommand that `args` name; the first is the program's own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Before there is a second thread. Agents run as the same user and must not read this process's memory or token.
    sys::make_private();
    sys::raise_file_limit();
    config::hide_token();
    config::trim_variables();
    let args: Vec<OsString> = args.into_iter().collect();
    let command = config::prepare_variables(Cli::command());
    let parsed = command
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(text) = config::variable_error(&error, &args) {
                print_error(&CliError::Usage(text));
                return ExitCode::from(exit::USAGE);
            }
            // Help and version go to standard output; that it is closed is not an error.
            let _printed = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if !error.is_silent() {
                print_error(&error);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8, CliError> {
    let Cli { global, command } = cli;
    let color = global.color;
    log_to_stderr(match command {
        Command::Serve(_) => LevelFilter::INFO,
        _ => LevelFilter::ERROR,
    });
    match command {
        Command::Serve(args) => block_on(serve::serve(&global, args)),
        Command::Doctor(args) => doctor::doctor(&global, &args),
        Command::Openapi(_) => openapi::openapi(),
        Command::Configure(args) => block_on(configure::configure(&global, args)),
        Command::Run(args) => with_client(&global, async |client| run::run(client, *args, color).await),
        Command::Attach(args) => with_client(&global, async |client| attach::attach(&client, &args, color).await),
        Command::Answer(args) => with_client(&global, async |client| answer::answer(&client, &args).await),
        Command::Ps(args) => with_client(&global, async |client| ps::ps(&client, &args, global.colours()).await),
        Command::Logs(args) => with_client(&global, async |client| logs::logs(&client, &args).await),
        Command::Stop(args) => with_client(&global, async |client| stop::stop(&client, &args).await),
    }
}

fn with_client(
    global: &Global,
    command: impl AsyncFnOnce(Arc<Client>) -> Result<u8, CliError>,
) -> Result<u8, CliError> {
    block_on(async {
        let client = Arc::new(Client::new(global)?);
        let result = command(Arc::clone(&client)).await;
        client.leave().await;
        result
    })
}

/// Runs a subcommand on this thread. A slow reader of standard output then blocks only this thread: a server that is hosted
/// in this process runs on the worker threads.
fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_stack_size(THREAD_STACK)
        .enable_all()
        .build()
        .map_err(CliError::Io)?;
    let result = runtime.block_on(future);
    // Does not wait for blocked reads or connections.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("promptd "), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn wrong_flag_exits_2_and_version_exits_0() {
        let code = |args: &[&str]| format!("{:?}", main(args.iter().map(OsString::from)));
        assert_eq!(
            code(&["promptd", "run", "--no-such-flag"]),
            format!("{:?}", ExitCode::from(2))
        );
        assert_eq!(code(&["promptd", "--version"]), format!("{:?}", ExitCode::from(0)));
    }
}
