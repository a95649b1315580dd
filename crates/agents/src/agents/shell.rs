//! The built-in agent `shell`: the prompt is a script, and its exit code is the outcome.

use super::built_in::{BuiltIn, PromptLimit, no_native};
use crate::formats::lines::LINES;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin};
use crate::launch::request::TurnRequest;

pub(crate) static SHELL: BuiltIn = BuiltIn {
    name: "shell",
    programs: &["bash", "sh"],
    native: no_native,
    install: "apt-get install bash",
    prompt_limit: Some(PromptLimit::NoNul),
    capabilities: Capabilities {
        interrupt: true,
        ..Capabilities::NONE
    },
    format: &LINES,
    launch,
    dialog: None,
};

/// The script is run from its file, not from stdin: a command in it that reads stdin would consume the rest of the script.
fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Null);
    launch.args.push(request.prompt_file.to_string_lossy().into_owned());
    launch.with_caller_args(request)
}
