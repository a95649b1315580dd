//! Qwen Code, as seen with 0.24.4: `qwen -o stream-json`, and `qwen --acp` for a dialog.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::built_in::{BuiltIn, acp_dialog};
use crate::formats::qwen_stream_json::QWEN_STREAM_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin, file_path};
use crate::launch::mcp::{self, McpSyntax};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static QWEN: BuiltIn = BuiltIn {
    name: "qwen",
    programs: &["qwen"],
    native,
    install: "npm install -g @qwen-code/qwen-code",
    prompt_limit: None,
    capabilities: Capabilities {
        // With `--core-tools`, the tools that start agents and run skills stay.
        allowed_tools: false,
        // ACP has no message for a turn that runs.
        steering: false,
        ..Capabilities::ALL
    },
    format: &QWEN_STREAM_JSON,
    launch,
    dialog: Some(acp_dialog(launch_dialog)),
};

/// The lowest layer of settings: the user's own settings win. Two features are off because each one is a further request
/// to the model after every answer, which takes longer than the answer and counts as the turn's: qwen's memory, and in
/// a dialog the guess at the next prompt.
fn defaults(request: &TurnRequest<'_>) -> Value {
    let mut context = json!({});
    if workspace_files::agents_md(request) != AgentsMd::FoundByItself {
        let folder = [file_path(request, workspace_files::FOLDER)];
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

/// The launcher starts the real program as its child. A kill of the launcher leaves the program running. The real program
/// is a script beside it without execute permission: `node` runs it.
fn native(launcher: &Path) -> Vec<PathBuf> {
    vec![launcher.with_file_name("cli.js")]
}

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Prompt);
    launch.add_args(["-o", "stream-json", "--include-partial-messages", "-y"]);
    launch.add_session(request);
    finish(launch, request)
}

/// Qwen asks before edits and commands. In its own default mode, a model decides what to ask for.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Dialog);
    launch.add_args(["--acp", "--approval-mode", "default"]);
    finish(launch, request)
}

fn finish(mut launch: Launch, request: &TurnRequest<'_>) -> Launch {
    let defaults = launch.add_file(request, "qwen-defaults.json", defaults(request).to_string());
    launch.add_vars([
        // Without it, qwen starts itself a second time, which costs a second and a process of 100 MB.
        ("QWEN_CODE_NO_RELAUNCH", "true"),
        ("QWEN_CODE_SUPPRESS_YOLO_WARNING", "1"),
        ("QWEN_CODE_SYSTEM_DEFAULTS_PATH", &defaults),
    ]);
    launch.add_option("-m", request.model);
    if let Some(path) = launch.add_system_prompt(request) {
        launch.add_vars([("QWEN_SYSTEM_MD", &path)]);
    }
    launch.add_option("--max-session-turns", request.max_turns);
    let servers = mcp::add_servers_file(&mut launch, request, McpSyntax::Qwen);
    launch.add_option("--mcp-config", servers);
    launch.links = workspace_files::shared_skill_links(request);
    launch.links.extend(workspace_files::agents_md_link(request));
    launch.with_caller_args(request)
}
