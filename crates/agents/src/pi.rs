//! pi, as seen with 0.73.1: `pi -p --mode json`.

use super::formats::PI_JSON;
use super::known::{Capabilities, Evidence, Known, no_native};
use super::mounted::{self, Instructions};
use super::{Launch, TurnRequest, file_path, vars, words};

pub(super) static PI: Known = Known {
    name: "pi",
    programs: &["pi"],
    // A script for node.
    native: no_native,
    install: "npm install -g @mariozechner/pi-coding-agent",
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Tested,
    required_env: &[],
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: false,
        mcp: false,
        model: true,
        system_prompt: true,
        max_turns: false,
        allowed_tools: true,
    },
    format: &PI_JSON,
    launch,
    conversation: None,
};

const SYSTEM_PROMPT: &str = "system-prompt.md";

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["-p", "--mode", "json"]);
    let mut files = Vec::new();
    if let (false, Some(session)) = (request.first_turn, request.agent_session_id) {
        args.extend(words(["--session", session]));
    }
    if let Some(model) = request.model {
        args.extend(words(["--model", model]));
    }
    if !request.allowed_tools.is_empty() {
        args.extend(words(["--tools", &request.allowed_tools.join(",")]));
    }
    if let Some(text) = request.system_prompt {
        // The option takes a text or a file that holds it.
        args.extend(words(["--system-prompt", &file_path(request, SYSTEM_PROMPT)]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    // It reads AGENTS.md by itself in the working directory and above.
    if let Instructions::Elsewhere(path) = mounted::instructions(request) {
        args.extend(words(["--append-system-prompt", &path.to_string_lossy()]));
    }
    Launch {
        // No look for newer versions, no download of tools, no message home; the model is asked all the same.
        env: vars([("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0")]),
        files,
        links: mounted::shared_skills(request),
        ..request.prompted(args)
    }
}
