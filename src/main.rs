//! `promptd`: see `promptd --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a keeper is started for every turn, and needs none of the rest.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "keeper") {
        return promptd::keeper::main();
    }
    promptd::cli::main(std::env::args_os())
}
