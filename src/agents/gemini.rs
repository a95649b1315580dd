//! Gemini CLI, as seen with 0.61.0: `gemini -o stream-json`, and `gemini --acp` to be talked with.

use super::drivers;
use super::formats::{ACP, GEMINI_STREAM_JSON};
use super::known::{Capabilities, Conversation, Evidence, Known, PromptLimit, no_native};
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
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: true,
        mcp: false,
        model: true,
        system_prompt: true,
        max_turns: false,
        allowed_tools: false,
    },
    format: &GEMINI_STREAM_JSON,
    launch,
    conversation: Some(Conversation {
        launch: converse,
        format: &ACP,
        driver: drivers::acp,
    }),
};

const SYSTEM_PROMPT: &str = "system-prompt.md";
const DEFAULTS: &str = "gemini-defaults.json";

/// There is no option and no variable against its usage statistics, only a setting. As the lowest layer of settings,
/// the user's own still win. Gemini skips the file, and says so on stderr, where others may write to a folder above it.
const DEFAULTS_TEXT: &str = r#"{"privacy":{"usageStatisticsEnabled":false},"telemetry":{"enabled":false},"general":{"enableAutoUpdate":false,"enableAutoUpdateNotification":false}}"#;

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["-o", "stream-json", "-y"]);
    if let Some(id) = request.agent_session_id {
        args.extend(words([
            if request.first_turn { "--session-id" } else { "--resume" },
            id,
        ]));
    }
    start(request, args, Stdin::Prompt)
}

/// It asks before edits and commands; the driver says which session.
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
    let mut files = vec![(DEFAULTS, DEFAULTS_TEXT.to_owned())];
    if let Some(model) = request.model {
        args.extend(words(["-m", model]));
    }
    if let Some(text) = request.system_prompt {
        env.extend(vars([("GEMINI_SYSTEM_MD", &file_path(request, SYSTEM_PROMPT))]));
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    args.extend_from_slice(request.args);
    Launch {
        args,
        env,
        stdin,
        files,
    }
}

#[cfg(test)]
#[path = "gemini_tests.rs"]
pub(super) mod tests;
