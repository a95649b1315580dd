//! Qwen Code, as seen with 0.24.4: `qwen -o stream-json`, and `qwen --acp` to be talked with.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::formats::QWEN_STREAM_JSON;
use super::known::{Capabilities, Evidence, Known, acp_conversation};
use super::mcp::{self, Words};
use super::mounted::{self, Instructions};
use super::{Launch, Stdin, TurnRequest, file_path, vars, words};

pub(super) static QWEN: Known = Known {
    name: "qwen",
    programs: &["qwen"],
    native,
    install: "npm install -g @qwen-code/qwen-code",
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
        system_prompt: true,
        max_turns: true,
        // `--core-tools` leaves those that start agents and run skills.
        allowed_tools: false,
    },
    format: &QWEN_STREAM_JSON,
    launch,
    conversation: Some(acp_conversation(converse)),
};

const SYSTEM_PROMPT: &str = "system-prompt.md";
const DEFAULTS: &str = "qwen-defaults.json";
const SERVERS: &str = "mcp.json";

/// As the lowest layer of settings, the user's own still win. Its own memory is a second conversation with the model
/// behind every answer, which takes longer than the answer, and counts as the turn's. So is the guess at what will be
/// asked next, which it makes where it is talked with.
fn defaults(request: &TurnRequest<'_>) -> Value {
    let mut context = json!({});
    if mounted::instructions(request) != Instructions::Plain {
        let folder = [file_path(request, mounted::FOLDER)];
        context = json!({"includeDirectories": folder, "loadFromIncludeDirectories": true});
    }
    json!({
        "privacy": {"usageStatisticsEnabled": false},
        "telemetry": {"enabled": false},
        "general": {"enableAutoUpdate": false},
        "memory": {"enableManagedAutoMemory": false},
        "ui": {"enableFollowupSuggestions": false},
        "context": context,
    })
}

/// The launcher starts the real program as its child, and leaves it running when it is killed. The real one is a script
/// beside it, which has no execute permission: it is run by `node`.
fn native(launcher: &Path) -> Vec<PathBuf> {
    vec![launcher.with_file_name("cli.js")]
}

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["-o", "stream-json", "--include-partial-messages", "-y"]);
    args.extend(request.session_args());
    start(request, args, Stdin::Prompt)
}

/// It asks before edits and commands. In its own default mode, a model decides what to ask for.
fn converse(request: &TurnRequest<'_>) -> Launch {
    let args = words(["--acp", "--approval-mode", "default"]);
    start(request, args, Stdin::Conversation)
}

fn start(request: &TurnRequest<'_>, mut args: Vec<String>, stdin: Stdin) -> Launch {
    let mut env = vars([
        // Else it starts itself a second time, which costs a second and a process of 100 MB.
        ("QWEN_CODE_NO_RELAUNCH", "true"),
        ("QWEN_CODE_SUPPRESS_YOLO_WARNING", "1"),
        ("QWEN_CODE_SYSTEM_DEFAULTS_PATH", &file_path(request, DEFAULTS)),
    ]);
    let mut files = vec![(DEFAULTS, defaults(request).to_string())];
    if let Some(model) = request.model {
        args.extend(words(["-m", model]));
    }
    if let Some(text) = request.system_prompt {
        env.extend(vars([("QWEN_SYSTEM_MD", &file_path(request, SYSTEM_PROMPT))]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    if let Some(turns) = request.max_turns {
        args.extend(words(["--max-session-turns", &turns.to_string()]));
    }
    if !request.mcp_servers.is_empty() {
        args.extend(words(["--mcp-config", &file_path(request, SERVERS)]));
        let servers = json!({ "mcpServers": mcp::servers(request, Words::Qwen) });
        files.push((SERVERS, servers.to_string()));
        files.extend(mcp::script(request.mcp_servers));
    }
    let mut links = mounted::shared_skills(request);
    links.extend(mounted::instructions_to_include(request));
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
