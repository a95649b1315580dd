//! Claude Code, as seen with 2.1.329: `claude -p` with its stream of JSON lines.

use super::drivers;
use super::formats::{CLAUDE_CONTROL, CLAUDE_STREAM_JSON};
use super::known::{Capabilities, Conversation, Evidence, Known, PromptLimit, no_native};
use super::mcp::{self, Words};
use super::mounted::{self, Instructions};
use super::{Launch, Stdin, TurnRequest, file_path, vars, words};

pub(super) static CLAUDE: Known = Known {
    name: "claude",
    programs: &["claude"],
    // The installed program is the native binary itself.
    native: no_native,
    install: "npm install -g @anthropic-ai/claude-code",
    // "piped stdin input exceeds 10MB", exit code 1.
    prompt_limit: Some(PromptLimit::Bytes(10 << 20)),
    chooses_session_id: true,
    evidence: Evidence::Tested,
    required_env: &[],
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: true,
        mcp: true,
        model: true,
        system_prompt: true,
        max_turns: true,
        allowed_tools: true,
    },
    format: &CLAUDE_STREAM_JSON,
    launch,
    conversation: Some(Conversation {
        launch: converse,
        format: &CLAUDE_CONTROL,
        driver: drivers::claude_control,
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
            // Without it, the switch is refused to root.
            env.extend(vars([("IS_SANDBOX", "1")]));
        }
    } else {
        // Skipping permissions would allow every tool; this mode denies what is not listed, without asking.
        args.extend(allowed(request));
        args.extend(words(["--permission-mode", "dontAsk"]));
    }
    start(request, args, env, Stdin::Prompt)
}

/// It asks before all that changes something, but for the tools that are allowed anyway.
fn converse(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["--input-format", "stream-json", "--permission-prompt-tool", "stdio"]);
    if !request.allowed_tools.is_empty() {
        args.extend(allowed(request));
    }
    args.extend(words(["--permission-mode", "default"]));
    start(request, args, Vec::new(), Stdin::Conversation)
}

/// To be followed by another option: it takes all words up to that.
fn allowed(request: &TurnRequest<'_>) -> Vec<String> {
    let mut args = words(["--allowedTools"]);
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
    let mut args = words([
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
        // Takes all words up to the next option; servers that are named so are trusted without a question.
        args.extend(words(["--mcp-config", &file_path(request, MCP_SERVERS)]));
        let servers = mcp::servers(request, Words::Claude);
        files.push((MCP_SERVERS, serde_json::json!({ "mcpServers": servers }).to_string()));
        files.extend(mcp::script(request.mcp_servers));
    }
    // It reads AGENTS.md by itself in the working directory and above, where no CLAUDE.md stands beside it.
    if let Instructions::Elsewhere(path) = mounted::instructions(request) {
        args.extend(words(["--append-system-prompt-file", &path.to_string_lossy()]));
    }
    // In a folder that is added, it looks for skills as in the working directory: in .claude/skills only.
    let folder = request.files_dir.join(mounted::FOLDER);
    let links = mounted::skills(request, SKILLS, &folder.join(SKILLS));
    if !links.is_empty() {
        args.extend(words(["--add-dir", &folder.to_string_lossy()]));
    }
    args.extend(permissions);
    env.extend(permissions_env);
    args.extend(request.session_args());
    if let Some(model) = request.model {
        args.extend(words(["--model", model]));
    }
    if let Some(turns) = request.max_turns {
        args.extend(words(["--max-turns", &turns.to_string()]));
    }
    if let Some(text) = request.system_prompt {
        args.extend(words(["--system-prompt-file", &file_path(request, SYSTEM_PROMPT)]));
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

#[cfg(test)]
#[path = "claude_tests.rs"]
pub(super) mod tests;
