//! opencode, as seen with 1.18.33: `opencode run --format json`, and `opencode acp` for a dialog.

use serde_json::{Map, Value, json};

use super::built_in::{BuiltIn, acp_dialog, no_native};
use crate::formats::opencode_json::OPENCODE_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin, file_path};
use crate::launch::mcp::{self, McpSyntax};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static OPENCODE: BuiltIn = BuiltIn {
    name: "opencode",
    programs: &["opencode"],
    // The installed program is the native binary itself.
    native: no_native,
    install: "npm install -g opencode-ai",
    // 12 MB reach the model unchanged.
    prompt_limit: None,
    capabilities: Capabilities {
        // Only in the same working directory, which a session keeps.
        // With `steps` in its configuration it asks the model to stop, and continues if the model does not.
        max_turns: false,
        // ACP has no message for a turn that runs.
        steering: false,
        ..Capabilities::ALL
    },
    format: &OPENCODE_JSON,
    launch,
    dialog: Some(acp_dialog(launch_dialog)),
};

/// Every run of opencode unpacks a library of 5.6 MB into its folder for temporary files and leaves it there.
const TEMPORARY: &str = "opencode-tmp";

/// A layer of the configuration above the user's own file, and below the project's and `OPENCODE_CONFIG_CONTENT`. Objects
/// and lists of instructions are merged. <https://opencode.ai/docs/config/#precedence-order>
fn config(request: &TurnRequest<'_>) -> Option<Value> {
    let mut config = Map::new();
    if let Some(text) = request.system_prompt {
        // `build` is opencode's default agent. https://opencode.ai/docs/agents/#prompt
        config.insert("agent".to_owned(), json!({ "build": { "prompt": text } }));
    }
    if !request.mcp_servers.is_empty() {
        config.insert("mcp".to_owned(), mcp::servers(request, McpSyntax::Opencode));
    }
    if let AgentsMd::Above(path) | AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        config.insert("instructions".to_owned(), json!([path.to_string_lossy()]));
    }
    (!config.is_empty()).then(|| config.into())
}

/// What opencode asks for if the request names no tools: every change, and every tool of an MCP server, whose name is
/// `SERVER_TOOL`.
fn asked_tools(request: &TurnRequest<'_>) -> Value {
    let own = ["edit", "bash", "webfetch"].map(str::to_owned);
    let servers = request.mcp_servers.keys().map(|name| format!("{name}_*"));
    let tools = own.into_iter().chain(servers);
    Value::Object(tools.map(|tool| (tool, "ask".into())).collect())
}

/// The model is not offered what is denied. Of all entries that match a tool, the last one counts.
fn permissions_of(tools: &[String], granted: &str) -> Value {
    let all = std::iter::once(("*".to_owned(), "deny".into()));
    let allowed = tools.iter().map(|tool| (tool.clone(), granted.into()));
    Value::Object(all.chain(allowed).collect())
}

/// The prompt is standard input: an argument with a space would reach the model in quotes.
fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Prompt);
    // `--auto` allows what the user's own permissions would ask for: nobody could answer.
    launch.add_args(["run", "--format", "json", "--thinking", "--auto"]);
    launch.add_option("-s", request.resumed_session());
    launch.add_option("-m", request.model);
    let permissions = Some(request.allowed_tools).filter(|tools| !tools.is_empty());
    let permissions = permissions.map(|tools| permissions_of(tools, "allow"));
    finish(launch, request, permissions)
}

/// Without `OPENCODE_PERMISSION`, which overrides all of its configuration, opencode asks for nothing. The driver chooses
/// the model.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Dialog);
    launch.add_args(["acp"]);
    let permissions = match request.allowed_tools {
        [] => asked_tools(request),
        tools => permissions_of(tools, "ask"),
    };
    finish(launch, request, Some(permissions))
}

fn finish(mut launch: Launch, request: &TurnRequest<'_>, permissions: Option<Value>) -> Launch {
    launch.add_vars([
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        // The built-in list of models is enough to find one. Without this, it asks the network at every start.
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("TMPDIR", &file_path(request, TEMPORARY)),
    ]);
    if let Some(config) = config(request) {
        let path = launch.add_file(request, "opencode.json", mcp::opencode_text(&config));
        launch.add_vars([("OPENCODE_CONFIG", &path)]);
    }
    launch.files.extend(mcp::script(request.mcp_servers));
    if let Some(permissions) = permissions {
        launch.add_vars([("OPENCODE_PERMISSION", &permissions.to_string())]);
    }
    launch.links = workspace_files::shared_skill_links(request);
    launch.folders.push(TEMPORARY);
    launch.with_caller_args(request)
}
