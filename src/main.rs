//! The `promptd` program; `promptd::cli` is where it begins.

use std::process::ExitCode;

fn main() -> ExitCode {
    promptd::cli::main(std::env::args_os())
}
