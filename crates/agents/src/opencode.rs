//! opencode, as seen with 1.18.33: `opencode run --format json`, and `opencode acp` to be talked with.

use serde_json::{Map, Value, json};

use super::formats::OPENCODE_JSON;
use super::known::{Capabilities, Evidence, Known, acp_conversation, no_native};
use super::mcp::{self, Words};
use super::mounted::{self, Instructions};
use super::{Launch, Stdin, TurnRequest, file_path, vars, words};

pub(super) static OPENCODE: Known = Known {
    name: "opencode",
    programs: &["opencode"],
    // The installed program is the native binary itself.
    native: no_native,
    install: "npm install -g opencode-ai",
    // 12 MB reach the model whole.
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Tested,
    required_env: &[],
    capabilities: Capabilities {
        // In the same working directory only, which a session keeps.
        resume: true,
        interrupt: true,
        permissions: true,
        mcp: true,
        model: true,
        system_prompt: true,
        // With `steps` in its configuration it asks the model to stop, and goes on where the model does not.
        max_turns: false,
        allowed_tools: true,
    },
    format: &OPENCODE_JSON,
    launch,
    conversation: Some(acp_conversation(converse)),
};

const CONFIG: &str = "opencode.json";

/// Every run unpacks a library of 5.6 MB into its folder for temporary files and leaves it there.
const TEMPORARY: &str = "opencode-tmp";

/// A layer of the configuration over the user's own file, and under the project's and `OPENCODE_CONFIG_CONTENT`; objects
/// are merged, and so are the lists of instructions. <https://opencode.ai/docs/config/#precedence-order>
fn config(request: &TurnRequest<'_>) -> Option<Value> {
    let mut config = Map::new();
    if let Some(text) = request.system_prompt {
        // `build` is the agent that runs when none is asked for. https://opencode.ai/docs/agents/#prompt
        config.insert("agent".to_owned(), json!({ "build": { "prompt": text } }));
    }
    if !request.mcp_servers.is_empty() {
        config.insert("mcp".to_owned(), mcp::servers(request, Words::Opencode));
    }
    if let Instructions::Above(path) | Instructions::Elsewhere(path) = mounted::instructions(request) {
        config.insert("instructions".to_owned(), json!([path.to_string_lossy()]));
    }
    (!config.is_empty()).then(|| config.into())
}

/// What it asks for when no tools are named: what changes something, and every tool of a server, which is named
/// `SERVER_TOOL`.
fn questions(request: &TurnRequest<'_>) -> Value {
    let own = ["edit", "bash", "webfetch"].map(str::to_owned);
    let servers = request.mcp_servers.keys().map(|name| format!("{name}_*"));
    let asked = own.into_iter().chain(servers);
    Value::Object(asked.map(|tool| (tool, "ask".into())).collect())
}

/// What is denied is not offered to the model either. Of all that fits a tool the last counts.
fn permissions(tools: &[String], granted: &str) -> Value {
    let all = std::iter::once(("*".to_owned(), "deny".into()));
    let allowed = tools.iter().map(|tool| (tool.clone(), granted.into()));
    Value::Object(all.chain(allowed).collect())
}

/// The prompt comes by standard input: an argument with a space would reach the model in quotes.
fn launch(request: &TurnRequest<'_>) -> Launch {
    // Whatever the user's own permissions leave to be asked is allowed: without it, nobody answers.
    let mut args = words(["run", "--format", "json", "--thinking", "--auto"]);
    if let (false, Some(session)) = (request.first_turn, request.agent_session_id) {
        args.extend(words(["-s", session]));
    }
    if let Some(model) = request.model {
        args.extend(words(["-m", model]));
    }
    start(request, args, Stdin::Prompt)
}

/// It asks for nothing unless it is told to; the variable stands over all of its configuration. The driver chooses the
/// model.
fn converse(request: &TurnRequest<'_>) -> Launch {
    start(request, words(["acp"]), Stdin::Conversation)
}

fn start(request: &TurnRequest<'_>, mut args: Vec<String>, stdin: Stdin) -> Launch {
    let mut env = vars([
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        // The list of models that it was built with is enough to find one; else it asks the network at every start.
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("TMPDIR", &file_path(request, TEMPORARY)),
    ]);
    let mut files = Vec::new();
    if let Some(config) = config(request) {
        env.extend(vars([("OPENCODE_CONFIG", &file_path(request, CONFIG))]));
        files.push((CONFIG, mcp::opencode_text(&config)));
    }
    files.extend(mcp::script(request.mcp_servers));
    let asks = stdin == Stdin::Conversation;
    let permissions = match (request.allowed_tools, asks) {
        ([], false) => None,
        ([], true) => Some(questions(request)),
        (tools, asks) => Some(permissions(tools, if asks { "ask" } else { "allow" })),
    };
    if let Some(permissions) = permissions {
        env.extend(vars([("OPENCODE_PERMISSION", &permissions.to_string())]));
    }
    args.extend_from_slice(request.args);
    Launch {
        args,
        env,
        stdin,
        files,
        links: mounted::shared_skills(request),
        folders: vec![TEMPORARY],
        ..Launch::default()
    }
}
