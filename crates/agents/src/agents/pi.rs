//! pi, as seen with 0.73.1: `pi -p --mode json`.

use super::built_in::{BuiltIn, no_native};
use crate::formats::pi_json::PI_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, file_path, strings, vars};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static PI: BuiltIn = BuiltIn {
    name: "pi",
    programs: &["pi"],
    // It is a script for node.
    native: no_native,
    install: "npm install -g @mariozechner/pi-coding-agent",
    prompt_limit: None,
    chooses_session_id: false,
    capabilities: Capabilities {
        permissions: false,
        mcp: false,
        max_turns: false,
        ..Capabilities::ALL
    },
    format: &PI_JSON,
    launch,
    dialog: None,
};

const SYSTEM_PROMPT: &str = "system-prompt.md";

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = strings(["-p", "--mode", "json"]);
    let mut files = Vec::new();
    if let Some(session) = request.resumed_session() {
        args.extend(strings(["--session", session]));
    }
    if let Some(model) = request.model {
        args.extend(strings(["--model", model]));
    }
    if !request.allowed_tools.is_empty() {
        args.extend(strings(["--tools", &request.allowed_tools.join(",")]));
    }
    if let Some(text) = request.system_prompt {
        // The option takes a text or the path of a file.
        args.extend(strings(["--system-prompt", &file_path(request, SYSTEM_PROMPT)]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    // Pi reads AGENTS.md in the working directory and above.
    if let AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        args.extend(strings(["--append-system-prompt", &path.to_string_lossy()]));
    }
    Launch {
        // No check for newer versions, no download of tools, no message home. Requests to the model still work.
        env: vars([("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0")]),
        files,
        links: workspace_files::shared_skill_links(request),
        ..Launch::with_prompt(request, args)
    }
}
