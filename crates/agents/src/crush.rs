//! Crush, by its documentation and source alone: `crush run`.
//!
//! `crush run` reads the prompt from standard input, approves what tools ask for, and writes the answer as text:
//! <https://github.com/charmbracelet/crush>, `README.md` and `internal/cmd/run.go`. It cannot write JSON, so that only
//! its exit code tells how a turn went, and a session's id is not to be learnt.

use super::formats::LINES;
use super::known::{Capabilities, Evidence, Known, no_native};
use super::{Launch, TurnRequest, vars, words};

pub(super) static CRUSH: Known = Known {
    name: "crush",
    programs: &["crush"],
    native: no_native,
    install: "npm install -g @charmland/crush",
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Documented,
    required_env: &[],
    capabilities: Capabilities {
        resume: false,
        interrupt: true,
        permissions: false,
        mcp: false,
        model: true,
        system_prompt: false,
        max_turns: false,
        allowed_tools: false,
    },
    format: &LINES,
    launch,
    conversation: None,
};

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["run", "--quiet"]);
    if let Some(model) = request.model {
        args.extend(words(["--model", model]));
    }
    Launch {
        env: vars([
            ("CRUSH_DISABLE_METRICS", "1"),
            ("CRUSH_DISABLE_PROVIDER_AUTO_UPDATE", "1"),
        ]),
        ..request.prompted(args)
    }
}
