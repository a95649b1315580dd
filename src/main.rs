//! `promptd`: see `promptd --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a keeper is started for every turn, and needs none of the rest.
    let first = std::env::args_os().nth(1);
    match first.as_ref().and_then(|argument| argument.to_str()) {
        Some("keeper") => promptd_keeper::main(),
        Some("setup") => promptd_keeper::setup_main(),
        Some("pump") => promptd_keeper::pump_main(),
        Some(_) | None => promptd::cli::main(std::env::args_os()),
    }
}
