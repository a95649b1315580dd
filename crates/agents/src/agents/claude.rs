//! Claude Code, as seen with 2.1.329: `claude -p`, and the protocol of its SDKs for a dialog. Both write JSON lines.

use super::built_in::{BuiltIn, Dialog, PromptLimit, no_native};
use crate::drivers;
use crate::drivers::claude_grants;
use crate::formats::claude::{CLAUDE_CONTROL, CLAUDE_STREAM_JSON};
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin};
use crate::launch::mcp::{self, McpSyntax};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};
use promptd_model::PermissionMode;

pub(crate) static CLAUDE: BuiltIn = BuiltIn {
    name: "claude",
    programs: &["claude"],
    // The installed program is the native binary itself.
    native: no_native,
    install: "npm install -g @anthropic-ai/claude-code",
    // "piped stdin input exceeds 10MB", exit code 1.
    prompt_limit: Some(PromptLimit::Bytes(10 << 20)),
    capabilities: Capabilities::ALL,
    format: &CLAUDE_STREAM_JSON,
    launch,
    dialog: Some(Dialog {
        launch: launch_dialog,
        capabilities: Capabilities::ALL,
        format: &CLAUDE_CONTROL,
        files: &["image/", "application/pdf"],
        driver: drivers::claude_control::new,
    }),
};

const SKILLS: &str = ".claude/skills";

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = start(request, Stdin::Prompt);
    bypass_permissions(&mut launch, request);
    finish(launch, request)
}

fn bypass_permissions(launch: &mut Launch, request: &TurnRequest<'_>) {
    if request.allowed_tools.is_empty() {
        launch.add_args(["--dangerously-skip-permissions"]);
        if request.root {
            // Without it, claude refuses the switch to root.
            launch.add_vars([("IS_SANDBOX", "1")]);
        }
    } else {
        // If permissions were skipped, every tool would be allowed. This mode denies what is not listed, without a question.
        add_allowed_tools(launch, request);
        launch.add_args(["--permission-mode", "dontAsk"]);
    }
}

/// Where it is to ask, claude asks before every change, except for the tools that are allowed.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut launch = start(request, Stdin::Dialog);
    launch.add_args(["--input-format", "stream-json"]);
    if request.permission == PermissionMode::Bypass {
        bypass_permissions(&mut launch, request);
        return finish(launch, request);
    }
    launch.add_args(["--permission-prompt-tool", "stdio"]);
    if !request.allowed_tools.is_empty() {
        add_allowed_tools(&mut launch, request);
    }
    // What a process of claude is granted ends with it, and each turn is a process.
    let (settings, mode) = claude_grants::settings(request.grants);
    if let Some(settings) = settings {
        let file = launch.add_file(request, "session-grants.json", settings.to_string());
        launch.add_option("--settings", Some(file));
    }
    launch.add_option("--permission-mode", Some(mode.unwrap_or("default")));
    finish(launch, request)
}

/// Another option must follow: this one takes all words up to the next option.
fn add_allowed_tools(launch: &mut Launch, request: &TurnRequest<'_>) {
    launch.add_args(["--allowedTools"]);
    launch.args.extend_from_slice(request.allowed_tools);
}

/// What comes before the permissions.
fn start(request: &TurnRequest<'_>, stdin: Stdin) -> Launch {
    let mut launch = Launch::new(stdin);
    // Without --verbose it refuses to write stream-json.
    launch.add_args(["-p", "--output-format", "stream-json", "--verbose"]);
    launch.add_args(["--include-partial-messages"]);
    launch.add_vars([
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ]);
    // Takes all words up to the next option. Claude trusts servers that are named here without a question.
    let servers = mcp::add_servers_file(&mut launch, request, McpSyntax::Claude);
    launch.add_option("--mcp-config", servers);
    // Claude reads AGENTS.md in the working directory and above, unless a CLAUDE.md is beside it.
    if let AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        launch.add_option("--append-system-prompt-file", Some(path.display()));
    }
    // In an added folder, claude looks for skills as in the working directory: in .claude/skills only.
    let folder = request.files_dir.join(workspace_files::FOLDER);
    launch.links = workspace_files::skill_links(request, SKILLS, &folder.join(SKILLS));
    if !launch.links.is_empty() {
        launch.add_option("--add-dir", Some(folder.display()));
    }
    launch
}

fn finish(mut launch: Launch, request: &TurnRequest<'_>) -> Launch {
    launch.add_session(request);
    launch.add_option("--model", request.model);
    launch.add_option("--max-turns", request.max_turns);
    let system_prompt = launch.add_system_prompt(request);
    launch.add_option("--system-prompt-file", system_prompt);
    launch.with_caller_args(request)
}
