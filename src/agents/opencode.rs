//! opencode, as seen with 1.18.33: `opencode run --format json`, and `opencode acp` to be talked with.

use super::formats::OPENCODE_JSON;
use super::known::{Capabilities, Evidence, Known, acp_conversation, no_native};
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
        mcp: false,
        model: true,
        system_prompt: true,
        max_turns: false,
        allowed_tools: false,
    },
    format: &OPENCODE_JSON,
    launch,
    conversation: Some(acp_conversation(converse)),
};

const SYSTEM_PROMPT: &str = "system-prompt.md";
const CONFIG: &str = "opencode.json";

/// Every run unpacks a library of 5.6 MB into its folder for temporary files and leaves it there.
const TEMPORARY: &str = "opencode-tmp";

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
    let mut launch = start(&request.without_servers(), words(["acp"]), Stdin::Conversation);
    let permissions = r#"{"edit":"ask","bash":"ask","webfetch":"ask"}"#;
    launch.env.extend(vars([("OPENCODE_PERMISSION", permissions)]));
    launch
}

fn start(request: &TurnRequest<'_>, mut args: Vec<String>, stdin: Stdin) -> Launch {
    let mut env = vars([
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        // The list of models that it was built with is enough to find one; else it asks the network at every start.
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("TMPDIR", &file_path(request, TEMPORARY)),
    ]);
    let mut files = Vec::new();
    if let Some(text) = request.system_prompt {
        // `build` is the agent that runs when none is asked for. https://opencode.ai/docs/agents/#prompt
        let prompt = format!("{{file:{}}}", file_path(request, SYSTEM_PROMPT));
        let config = serde_json::json!({ "agent": { "build": { "prompt": prompt } } });
        env.extend(vars([("OPENCODE_CONFIG", &file_path(request, CONFIG))]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
        files.push((CONFIG, config.to_string()));
    }
    args.extend_from_slice(request.args);
    Launch {
        args,
        env,
        stdin,
        files,
        folders: vec![TEMPORARY],
        ..Launch::default()
    }
}
