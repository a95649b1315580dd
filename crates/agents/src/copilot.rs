//! GitHub's Copilot CLI, as seen with 1.0.102: `copilot --output-format json`, and `copilot --acp` to be talked with.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::formats::COPILOT_JSON;
use super::known::{Capabilities, Evidence, Known, acp_conversation};
use super::mcp::{self, Words};
use super::mounted::{self, Instructions};
use super::{Launch, Link, Stdin, TurnRequest, file_path, vars, words};

pub(super) static COPILOT: Known = Known {
    name: "copilot",
    programs: &["copilot"],
    native,
    install: "npm install -g @github/copilot",
    prompt_limit: None,
    chooses_session_id: true,
    evidence: Evidence::Tested,
    required_env: &[],
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: true,
        mcp: true,
        model: true,
        system_prompt: false,
        max_turns: false,
        allowed_tools: true,
    },
    format: &COPILOT_JSON,
    launch,
    conversation: Some(acp_conversation(converse)),
};

const SERVERS: &str = "mcp.json";

/// Its instructions for all folders, below the home.
const INSTRUCTIONS: &str = ".copilot/copilot-instructions.md";

/// npm's launcher stays the parent of the real program, and killing it leaves that one running.
///
/// The binary is in a package of its own, which npm puts inside of the launcher's (global) or beside it (in a project).
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
    let mut args = words(["--output-format", "json", "--allow-all"]);
    match (request.first_turn, request.agent_session_id) {
        (true, Some(id)) => args.extend(words(["--session-id", id])),
        // With a space between, the id is taken for the prompt.
        (false, Some(id)) => args.push(format!("--resume={id}")),
        (_, None) => {}
    }
    start(request, args, Stdin::Prompt)
}

/// It asks before all that changes something.
fn converse(request: &TurnRequest<'_>) -> Launch {
    start(request, words(["--acp"]), Stdin::Conversation)
}

fn start(request: &TurnRequest<'_>, mut args: Vec<String>, stdin: Stdin) -> Launch {
    // `--no-ask-user` takes the tool away that waits for a person's words.
    args.extend(words(["--no-color", "--no-ask-user", "--disable-client-telemetry"]));
    if let Some(model) = request.model {
        args.extend(words(["--model", model]));
    }
    if !request.allowed_tools.is_empty() {
        args.push(format!("--available-tools={}", request.allowed_tools.join(",")));
    }
    let mut files = Vec::new();
    if !request.mcp_servers.is_empty() {
        args.push("--additional-mcp-config".to_owned());
        args.push(format!("@{}", file_path(request, SERVERS)));
        let servers = json!({ "mcpServers": mcp::servers(request, Words::Copilot) });
        files.push((SERVERS, servers.to_string()));
        files.extend(mcp::script(request.mcp_servers));
    }
    let mut links = mounted::shared_skills(request);
    // It reads no AGENTS.md in `COPILOT_CUSTOM_INSTRUCTIONS_DIRS`.
    if let Instructions::Above(path) | Instructions::Elsewhere(path) = mounted::instructions(request) {
        links.extend(request.mounted.home.iter().map(|home| Link {
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
