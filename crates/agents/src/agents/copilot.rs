//! GitHub's Copilot CLI, as seen with 1.0.102: `copilot --output-format json`, and `copilot --acp` for a dialog.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::built_in::{BuiltIn, acp_dialog};
use crate::formats::copilot_json::COPILOT_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Link, Stdin, file_path, strings, vars};
use crate::launch::mcp::{self, McpSyntax};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static COPILOT: BuiltIn = BuiltIn {
    name: "copilot",
    programs: &["copilot"],
    native,
    install: "npm install -g @github/copilot",
    prompt_limit: None,
    chooses_session_id: true,
    capabilities: Capabilities {
        system_prompt: false,
        max_turns: false,
        ..Capabilities::ALL
    },
    format: &COPILOT_JSON,
    launch,
    dialog: Some(acp_dialog(launch_dialog)),
};

const SERVERS: &str = "mcp.json";

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
    let mut args = strings(["--output-format", "json", "--allow-all"]);
    match (request.first_turn, request.agent_session_id) {
        (true, Some(id)) => args.extend(strings(["--session-id", id])),
        // After a space, the id would be taken for the prompt.
        (false, Some(id)) => args.push(format!("--resume={id}")),
        (_, None) => {}
    }
    start(request, args, Stdin::Prompt)
}

/// Copilot asks before every change.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    start(request, strings(["--acp"]), Stdin::Dialog)
}

fn start(request: &TurnRequest<'_>, mut args: Vec<String>, stdin: Stdin) -> Launch {
    // `--no-ask-user` removes the tool that waits for a person's answer.
    args.extend(strings(["--no-color", "--no-ask-user", "--disable-client-telemetry"]));
    if let Some(model) = request.model {
        args.extend(strings(["--model", model]));
    }
    if !request.allowed_tools.is_empty() {
        args.push(format!("--available-tools={}", request.allowed_tools.join(",")));
    }
    let mut files = Vec::new();
    if !request.mcp_servers.is_empty() {
        args.push("--additional-mcp-config".to_owned());
        args.push(format!("@{}", file_path(request, SERVERS)));
        let servers = json!({ "mcpServers": mcp::servers(request, McpSyntax::Copilot) });
        files.push((SERVERS, servers.to_string()));
        files.extend(mcp::script(request.mcp_servers));
    }
    let mut links = workspace_files::shared_skill_links(request);
    // Copilot reads no AGENTS.md in `COPILOT_CUSTOM_INSTRUCTIONS_DIRS`.
    if let AgentsMd::Above(path) | AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        links.extend(request.workspace_files.home.iter().map(|home| Link {
            at: home.join(INSTRUCTIONS),
            to: path.to_owned(),
        }));
    }
    args.extend_from_slice(request.args);
    Launch {
        args,
        env: vars([("COPILOT_AUTO_UPDATE", "false")]),
        stdin,
        files,
        links,
        ..Launch::default()
    }
}
