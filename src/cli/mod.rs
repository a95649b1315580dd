//! The command line: arguments become one subcommand.
//!
//! `serve` runs the server. All others are clients of one, over the home's control socket or `--url`, and
//! where the home has none, they host one in this process and talk to it all the same: one code path.
//!
//! Promises: standard output carries what was asked for and nothing else; what we have to say goes to standard
//! error; exit codes as the contract words them. May use every other module, and none may use it.

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

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use self::error::{CliError, exit};
use self::global::Global;
use self::stdio::{complain, log_to_stderr};
use crate::runtime::config;
use promptd_sys as sys;

/// Stack of a worker or blocking thread; only what is touched takes memory.
const THREAD_STACK: usize = 1 << 20;

/// The most worker threads: the work is system calls, and more workers would only take memory from agents.
const MAX_WORKERS: usize = 4;

const AFTER_HELP: &str = "\
Examples:
  promptd run -a shell 'echo hello'             run a prompt here and now, without a server
  promptd run -a claude 'fix the failing test'  let claude work in ~/workspace
  promptd serve                                 listen on 127.0.0.1:8080
  promptd ps                                    sessions and what they do

Exit codes: 0 done, 1 the agent failed, 2 usage, 3 no server, 124 timed out, 130 interrupted.";

/// Runs coding agents: a prompt goes in, a detached agent runs, every byte comes out.
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
    // Before there is a second thread: agents run as the same user, and what we know is none of their business.
    sys::make_private();
    config::hide_token();
    let command = config::prepare_variables(Cli::command());
    let parsed = command
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are what was asked for, and go to standard output. A closed one is no error of ours.
            let _printed = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if !error.is_silent() {
                complain(&error);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8, CliError> {
    let global = cli.global;
    match cli.command {
        Command::Serve(args) => {
            log_to_stderr(LevelFilter::INFO);
            block_on(serve::serve(&global, args))
        }
        Command::Doctor(args) => doctor::doctor(&global, &args),
        Command::Openapi(_) => openapi::openapi(),
        Command::Run(args) => as_client(run::run(&global, *args)),
        Command::Attach(args) => as_client(attach::attach(&global, args)),
        Command::Answer(args) => as_client(answer::answer(&global, args)),
        Command::Ps(args) => as_client(ps::ps(&global, args)),
        Command::Logs(args) => as_client(logs::logs(&global, args)),
        Command::Stop(args) => as_client(stop::stop(&global, args)),
        Command::Configure(args) => as_client(configure::configure(&global, args)),
    }
}

/// Runs a client subcommand. Its future stays on this thread, so that a slow reader of our standard output
/// blocks nobody but us: a server that is hosted here runs on the workers.
fn as_client(command: impl Future<Output = Result<u8, CliError>>) -> Result<u8, CliError> {
    log_to_stderr(LevelFilter::ERROR);
    block_on(command)
}

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
    // A read that waits for a disk, or a connection that nobody answers, is no reason to stay.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("promptd "), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn a_wrong_flag_is_usage_and_help_is_not() {
        let code = |args: &[&str]| format!("{:?}", main(args.iter().map(OsString::from)));
        assert_eq!(
            code(&["promptd", "run", "--no-such-flag"]),
            format!("{:?}", ExitCode::from(2))
        );
        assert_eq!(code(&["promptd", "--version"]), format!("{:?}", ExitCode::from(0)));
    }
}
