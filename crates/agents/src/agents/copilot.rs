//! GitHub's Copilot CLI, as seen with 1.0.102: `copilot --output-format json`, and `copilot --acp` for a dialog.

use std::path::{Path, PathBuf};

use super::built_in::{BuiltIn, acp_dialog};
use crate::formats::copilot_json::COPILOT_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Link, Stdin};
use crate::launch::mcp::{self, McpSyntax};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static COPILOT: BuiltIn = BuiltIn {
    name: "copilot",
    programs: &["copilot"],
    native,
    install: "npm install -g @github/copilot",
    prompt_limit: None,
    capabilities: Capabilities {
        system_prompt: false,
        // ACP has no message for a turn that runs.
        steering: false,
        max_turns: false,
        ..Capabilities::ALL
    },
    format: &COPILOT_JSON,
    launch,
    dialog: Some(acp_dialog(launch_dialog)),
};

/// Where copilot reads the instructions for all folders, below the home.
const INSTRUCTIONS: &str = ".copilot/copilot-instructions.md";

/// npm's launcher stays the parent of the real program, and a kill of the launcher leaves the program running.
///
/// The binary is in a package of its own. npm puts it inside of the launcher's package (global) or beside it (in a
/// project).
fn native(launcher: &Path) -> Vec<PathBuf> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return Vec::new(),
    };
    let Some(package) = launcher.parent() else {
        return Vec::new();
    };
    let binary = format!("copilot-linux-{arch}/copilot");
    [package.join("node_modules/@github"), package.with_file_name("")]
        .map(|scope| scope.join(&binary))
        .to_vec()
}

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Prompt);
    launch.add_args(["--output-format", "json", "--allow-all"]);
    match (request.first_turn, request.agent_session_id) {
        // After a space, the id would be taken for the prompt.
        (false, Some(id)) => launch.args.push(format!("--resume={id}")),
        (true, id) => launch.add_option("--session-id", id),
        (false, None) => {}
    }
    finish(launch, request)
}

/// Copilot asks before every change.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Dialog);
    launch.add_args(["--acp"]);
    finish(launch, request)
}

fn finish(mut launch: Launch, request: &TurnRequest<'_>) -> Launch {
    launch.add_vars([("COPILOT_AUTO_UPDATE", "false")]);
    // `--no-ask-user` removes the tool that waits for a person's answer.
    launch.add_args(["--no-color", "--no-ask-user", "--disable-client-telemetry"]);
    launch.add_option("--model", request.model);
    if !request.allowed_tools.is_empty() {
        let tools = request.allowed_tools.join(",");
        launch.args.push(format!("--available-tools={tools}"));
    }
    let servers = mcp::add_servers_file(&mut launch, request, McpSyntax::Copilot);
    launch.add_option("--additional-mcp-config", servers.map(|path| format!("@{path}")));
    launch.links = workspace_files::shared_skill_links(request);
    // Copilot reads no AGENTS.md in `COPILOT_CUSTOM_INSTRUCTIONS_DIRS`.
    if let AgentsMd::Above(path) | AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        launch
            .links
            .extend(request.workspace_files.home.iter().map(|home| Link {
                at: home.join(INSTRUCTIONS),
                to: path.to_owned(),
            }));
    }
    launch.with_caller_args(request)
}
