//! pi, as seen with 1.6.0: `pi -p --mode json`. Up to 0.73.1 it was `@mariozechner/pi-coding-agent`.

use super::built_in::{BuiltIn, no_native};
use crate::formats::pi_json::PI_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static PI: BuiltIn = BuiltIn {
    name: "pi",
    programs: &["pi"],
    // It is a script for node.
    native: no_native,
    install: "npm install -g @earendil-works/pi-coding-agent",
    prompt_limit: None,
    capabilities: Capabilities {
        permissions: false,
        images: false,
        steering: false,
        mcp: false,
        max_turns: false,
        ..Capabilities::ALL
    },
    format: &PI_JSON,
    launch,
    dialog: None,
};

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Prompt);
    launch.add_args(["-p", "--mode", "json"]);
    launch.add_option("--session", request.resumed_session());
    launch.add_option("--model", request.model);
    if !request.allowed_tools.is_empty() {
        launch.add_option("--tools", Some(request.allowed_tools.join(",")));
    }
    // The option takes a text or the path of a file.
    let system_prompt = launch.add_system_prompt(request);
    launch.add_option("--system-prompt", system_prompt);
    // Pi reads AGENTS.md in the working directory and above.
    if let AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        launch.add_option("--append-system-prompt", Some(path.display()));
    }
    // No check for newer versions, no download of tools, no message home. Requests to the model still work.
    launch.add_vars([("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0")]);
    launch.links = workspace_files::shared_skill_links(request);
    launch.with_caller_args(request)
}
