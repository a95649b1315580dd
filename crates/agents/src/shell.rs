//! The built-in agent `shell`: the prompt is a script, and its exit code is the outcome.

use super::formats::LINES;
use super::known::{Capabilities, Evidence, Known, no_native};
use super::{Launch, Stdin, TurnRequest};

pub(super) static SHELL: Known = Known {
    name: "shell",
    programs: &["bash", "sh"],
    native: no_native,
    install: "apt-get install bash",
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Tested,
    required_env: &[],
    capabilities: Capabilities {
        resume: false,
        interrupt: true,
        permissions: false,
        mcp: false,
        model: false,
        system_prompt: false,
        max_turns: false,
        allowed_tools: false,
    },
    format: &LINES,
    launch,
    conversation: None,
};

/// The script is run from its file, not from stdin: a command in it that reads stdin would eat the rest of the script.
fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = vec![request.prompt_file.to_string_lossy().into_owned()];
    args.extend_from_slice(request.args);
    Launch {
        args,
        stdin: Stdin::Null,
        ..Launch::default()
    }
}
