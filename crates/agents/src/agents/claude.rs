//! Claude Code, as seen with 2.1.329: `claude -p`, and the protocol of its SDKs for a dialog. Both write JSON lines.

use super::built_in::{BuiltIn, Dialog, PromptLimit, no_native};
use crate::drivers;
use crate::formats::claude::{CLAUDE_CONTROL, CLAUDE_STREAM_JSON};
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin, file_path, session_args, strings, vars};
use crate::launch::mcp::{self, McpSyntax};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static CLAUDE: BuiltIn = BuiltIn {
    name: "claude",
    programs: &["claude"],
    // The installed program is the native binary itself.
    native: no_native,
    install: "npm install -g @anthropic-ai/claude-code",
    // "piped stdin input exceeds 10MB", exit code 1.
    prompt_limit: Some(PromptLimit::Bytes(10 << 20)),
    chooses_session_id: true,
    capabilities: Capabilities::ALL,
    format: &CLAUDE_STREAM_JSON,
    launch,
    dialog: Some(Dialog {
        launch: launch_dialog,
        format: &CLAUDE_CONTROL,
        driver: drivers::claude_control::new,
    }),
};

const SYSTEM_PROMPT: &str = "system-prompt.md";
const MCP_SERVERS: &str = "mcp.json";
const SKILLS: &str = ".claude/skills";

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = Vec::new();
    let mut env = Vec::new();
    if request.allowed_tools.is_empty() {
        args.push("--dangerously-skip-permissions".to_owned());
        if request.root {
            // Without it, claude refuses the switch to root.
            env.extend(vars([("IS_SANDBOX", "1")]));
        }
    } else {
        // If permissions were skipped, every tool would be allowed. This mode denies what is not listed, without a question.
        args.extend(allowed(request));
        args.extend(strings(["--permission-mode", "dontAsk"]));
    }
    start(request, args, env, Stdin::Prompt)
}

/// Claude asks before every change, except for the tools that are allowed.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut args = strings(["--input-format", "stream-json", "--permission-prompt-tool", "stdio"]);
    if !request.allowed_tools.is_empty() {
        args.extend(allowed(request));
    }
    args.extend(strings(["--permission-mode", "default"]));
    start(request, args, Vec::new(), Stdin::Dialog)
}

/// Another option must follow: this one takes all words up to the next option.
fn allowed(request: &TurnRequest<'_>) -> Vec<String> {
    let mut args = strings(["--allowedTools"]);
    args.extend_from_slice(request.allowed_tools);
    args
}

fn start(
    request: &TurnRequest<'_>,
    permissions: Vec<String>,
    permissions_env: Vec<(String, String)>,
    stdin: Stdin,
) -> Launch {
    // Without --verbose it refuses to write stream-json.
    let mut args = strings([
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
    ]);
    let mut env = vars([
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ]);
    let mut files = Vec::new();
    if !request.mcp_servers.is_empty() {
        // Takes all words up to the next option. Claude trusts servers that are named here without a question.
        args.extend(strings(["--mcp-config", &file_path(request, MCP_SERVERS)]));
        let servers = mcp::servers(request, McpSyntax::Claude);
        files.push((MCP_SERVERS, serde_json::json!({ "mcpServers": servers }).to_string()));
        files.extend(mcp::script(request.mcp_servers));
    }
    // Claude reads AGENTS.md in the working directory and above, unless a CLAUDE.md is beside it.
    if let AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        args.extend(strings(["--append-system-prompt-file", &path.to_string_lossy()]));
    }
    // In an added folder, claude looks for skills as in the working directory: in .claude/skills only.
    let folder = request.files_dir.join(workspace_files::FOLDER);
    let links = workspace_files::skill_links(request, SKILLS, &folder.join(SKILLS));
    if !links.is_empty() {
        args.extend(strings(["--add-dir", &folder.to_string_lossy()]));
    }
    args.extend(permissions);
    env.extend(permissions_env);
    args.extend(session_args(request));
    if let Some(model) = request.model {
        args.extend(strings(["--model", model]));
    }
    if let Some(turns) = request.max_turns {
        args.extend(strings(["--max-turns", &turns.to_string()]));
    }
    if let Some(text) = request.system_prompt {
        args.extend(strings(["--system-prompt-file", &file_path(request, SYSTEM_PROMPT)]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    args.extend_from_slice(request.args);
    Launch {
        args,
        env,
        stdin,
        files,
        links,
        ..Launch::default()
    }
}
