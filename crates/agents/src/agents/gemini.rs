//! Gemini CLI, as seen with 0.61.0: `gemini -o stream-json`, and `gemini --acp` for a dialog.

use serde_json::{Map, Value, json};

use super::built_in::{BuiltIn, PromptLimit, acp_dialog, no_native};
use crate::formats::gemini_stream_json::GEMINI_STREAM_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin, file_path};
use crate::launch::mcp::{self, McpSyntax};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static GEMINI: BuiltIn = BuiltIn {
    name: "gemini",
    programs: &["gemini"],
    // It is a script for node.
    native: no_native,
    install: "npm install -g @google/gemini-cli",
    // Beyond it, gemini cuts the prompt, calls no model and exits with 0.
    prompt_limit: Some(PromptLimit::Bytes(8 << 20)),
    capabilities: Capabilities {
        // ACP has no message for a turn that runs.
        steering: false,
        ..Capabilities::ALL
    },
    format: &GEMINI_STREAM_JSON,
    launch,
    dialog: Some(acp_dialog(launch_dialog)),
};

/// The lowest layer of gemini's settings: the user's own settings win, lists and objects are merged. If others may write to
/// a folder above the file, gemini skips it and says so on stderr.
fn defaults(request: &TurnRequest<'_>) -> Value {
    let mut context = object([("fileName", json!(["GEMINI.md", workspace_files::AGENTS_MD]))]);
    if workspace_files::agents_md(request) != AgentsMd::FoundByItself {
        // Gemini reads upwards to the next .git, and in included folders.
        let folder = json!([file_path(request, workspace_files::FOLDER)]);
        let included = [
            ("includeDirectories", folder),
            ("loadMemoryFromIncludeDirectories", json!(true)),
        ];
        context.extend(object(included));
    }
    let mut settings = object([
        // No option and no variable turns its usage statistics off.
        ("privacy", json!({"usageStatisticsEnabled": false})),
        ("telemetry", json!({"enabled": false})),
        (
            "general",
            json!({"enableAutoUpdate": false, "enableAutoUpdateNotification": false}),
        ),
        ("context", context.into()),
    ]);
    if !request.mcp_servers.is_empty() {
        settings.extend(object([("mcpServers", mcp::servers(request, McpSyntax::Gemini))]));
    }
    settings.into()
}

/// The limits of the request, as the highest layer of settings, which no settings of the user can widen. It replaces
/// `/etc/gemini-cli/settings.json`. Tools of MCP servers have the names that the model sees: `mcp_SERVER_TOOL`.
fn limits(request: &TurnRequest<'_>) -> Option<Value> {
    let tools = Some(request.allowed_tools).filter(|tools| !tools.is_empty());
    let tools = tools.map(|tools| ("tools", json!({"core": tools})));
    let turns = request.max_turns;
    let turns = turns.map(|turns| ("model", json!({"maxSessionTurns": turns})));
    let settings = object(tools.into_iter().chain(turns));
    (!settings.is_empty()).then(|| settings.into())
}

fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
    let fields = fields.into_iter();
    fields.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// If others may write to a folder above a settings file, gemini runs without the file and says so on stderr only. Our
/// switches against calls home may be lost that way, a field of the request may not.
fn needs_private_folders(request: &TurnRequest<'_>) -> Option<&'static str> {
    let fields = [
        ("allowed_tools", !request.allowed_tools.is_empty()),
        ("max_turns", request.max_turns.is_some()),
        ("mcp_servers", !request.mcp_servers.is_empty()),
    ];
    fields.into_iter().find_map(|(field, is_set)| is_set.then_some(field))
}

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Prompt);
    launch.add_args(["-o", "stream-json", "-y"]);
    launch.add_session(request);
    finish(launch, request)
}

/// Gemini asks before edits and commands.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Dialog);
    launch.add_args(["--acp", "--approval-mode", "default"]);
    finish(launch, request)
}

fn finish(mut launch: Launch, request: &TurnRequest<'_>) -> Launch {
    let defaults = launch.add_file(request, "gemini-defaults.json", defaults(request).to_string());
    launch.add_vars([
        // Without it, gemini refuses to work in a folder that nobody has trusted interactively.
        ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
        // Without it, gemini starts itself a second time, which costs 0.4 s and 170 MB, and it no longer gets signals.
        ("GEMINI_CLI_NO_RELAUNCH", "true"),
        ("GEMINI_CLI_SYSTEM_DEFAULTS_PATH", &defaults),
    ]);
    launch.files.extend(mcp::script(request.mcp_servers));
    if let Some(settings) = limits(request) {
        let path = launch.add_file(request, "gemini-settings.json", settings.to_string());
        launch.add_vars([("GEMINI_CLI_SYSTEM_SETTINGS_PATH", &path)]);
    }
    launch.add_option("-m", request.model);
    if let Some(path) = launch.add_system_prompt(request) {
        launch.add_vars([("GEMINI_SYSTEM_MD", &path)]);
    }
    launch.links = workspace_files::shared_skill_links(request);
    launch.links.extend(workspace_files::agents_md_link(request));
    launch.needs_private_folders = needs_private_folders(request);
    launch.with_caller_args(request)
}
