//! Gemini CLI, as seen with 0.61.0: `gemini -o stream-json`, and `gemini --acp` to be talked with.

use serde_json::{Map, Value, json};

use super::formats::GEMINI_STREAM_JSON;
use super::known::{Capabilities, Evidence, Known, PromptLimit, acp_conversation, no_native};
use super::mcp::{self, Words};
use super::mounted::{self, Instructions};
use super::{Launch, Stdin, TurnRequest, file_path, vars, words};

pub(super) static GEMINI: Known = Known {
    name: "gemini",
    programs: &["gemini"],
    // A script for node.
    native: no_native,
    install: "npm install -g @google/gemini-cli",
    // Beyond, it cuts the prompt, calls no model and exits with 0.
    prompt_limit: Some(PromptLimit::Bytes(8 << 20)),
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
    format: &GEMINI_STREAM_JSON,
    launch,
    conversation: Some(acp_conversation(converse)),
};

const SYSTEM_PROMPT: &str = "system-prompt.md";
const SETTINGS: &str = "gemini-settings.json";
const DEFAULTS: &str = "gemini-defaults.json";

/// The lowest layer of gemini's settings, over which the user's own win; lists and objects are merged. Gemini skips the
/// file, and says so on stderr, where others may write to a folder above it.
fn defaults(request: &TurnRequest<'_>) -> Value {
    let mut context = object([("fileName", json!(["GEMINI.md", mounted::INSTRUCTIONS]))]);
    if mounted::instructions(request) != Instructions::Plain {
        // It reads upwards as far as the next .git, and in folders that are included.
        let folder = json!([file_path(request, mounted::FOLDER)]);
        let included = [
            ("includeDirectories", folder),
            ("loadMemoryFromIncludeDirectories", json!(true)),
        ];
        context.extend(object(included));
    }
    let mut settings = object([
        // There is no option and no variable against its usage statistics.
        ("privacy", json!({"usageStatisticsEnabled": false})),
        ("telemetry", json!({"enabled": false})),
        (
            "general",
            json!({"enableAutoUpdate": false, "enableAutoUpdateNotification": false}),
        ),
        ("context", context.into()),
    ]);
    if !request.mcp_servers.is_empty() {
        settings.extend(object([("mcpServers", mcp::servers(request, Words::Gemini))]));
    }
    settings.into()
}

/// What the request bounds, as the highest layer of settings, which nobody's own can loosen; it stands in place of
/// `/etc/gemini-cli/settings.json`. Tools of MCP servers are named as the model sees them: `mcp_SERVER_TOOL`.
fn bounds(request: &TurnRequest<'_>) -> Option<Value> {
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

/// Gemini goes on without a file of settings where others may write to a folder above it, and says so on stderr only.
/// The switches against its calls home may be lost so, what was asked for may not.
fn lost_in_public(request: &TurnRequest<'_>) -> Option<&'static str> {
    let fields = [
        ("allowed_tools", !request.allowed_tools.is_empty()),
        ("max_turns", request.max_turns.is_some()),
        ("mcp_servers", !request.mcp_servers.is_empty()),
    ];
    fields.into_iter().find_map(|(field, asked)| asked.then_some(field))
}

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["-o", "stream-json", "-y"]);
    args.extend(request.session_args());
    start(request, args, Stdin::Prompt)
}

/// It asks before edits and commands.
fn converse(request: &TurnRequest<'_>) -> Launch {
    let args = words(["--acp", "--approval-mode", "default"]);
    start(request, args, Stdin::Conversation)
}

fn start(request: &TurnRequest<'_>, mut args: Vec<String>, stdin: Stdin) -> Launch {
    let mut env = vars([
        // Else it refuses to work in a folder that nobody has trusted interactively.
        ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
        // Else it starts itself a second time, which costs 0.4 s and 170 MB and makes it deaf to signals.
        ("GEMINI_CLI_NO_RELAUNCH", "true"),
        ("GEMINI_CLI_SYSTEM_DEFAULTS_PATH", &file_path(request, DEFAULTS)),
    ]);
    let mut files = vec![(DEFAULTS, defaults(request).to_string())];
    files.extend(mcp::script(request.mcp_servers));
    if let Some(settings) = bounds(request) {
        env.extend(vars([(
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH",
            &file_path(request, SETTINGS),
        )]));
        files.push((SETTINGS, settings.to_string()));
    }
    if let Some(model) = request.model {
        args.extend(words(["-m", model]));
    }
    if let Some(text) = request.system_prompt {
        env.extend(vars([("GEMINI_SYSTEM_MD", &file_path(request, SYSTEM_PROMPT))]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
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
        needs_private_folders: lost_in_public(request),
        ..Launch::default()
    }
}

#[cfg(test)]
#[path = "gemini_tests.rs"]
pub(super) mod tests;
