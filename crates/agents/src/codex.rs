//! Codex, as seen with 0.169.0: `codex exec --json`, and `codex app-server` to be talked with.

use std::path::{Path, PathBuf};

use super::drivers;
use super::formats::{APP_SERVER, CODEX_JSON};
use super::known::{Capabilities, Conversation, Evidence, Known, PromptLimit};
use super::mounted::{self, Instructions};
use super::{Launch, Link, Stdin, TurnRequest, file_path, mcp, words};

pub(super) static CODEX: Known = Known {
    name: "codex",
    programs: &["codex"],
    native,
    install: "npm install -g @openai/codex",
    // Exit code 1 beyond.
    prompt_limit: Some(PromptLimit::Characters(1 << 20)),
    chooses_session_id: false,
    evidence: Evidence::Tested,
    required_env: &[],
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: true,
        mcp: true,
        model: true,
        system_prompt: true,
        max_turns: false,
        allowed_tools: false,
    },
    format: &CODEX_JSON,
    launch,
    conversation: Some(Conversation {
        launch: converse,
        format: &APP_SERVER,
        driver: drivers::app_server,
    }),
};

const SYSTEM_PROMPT: &str = "system-prompt.md";

/// npm's launcher stays the parent of the real program under node < 22.15, and killing it leaves that one running.
///
/// The binary is in a package of its own, which npm puts inside of ours (global) or beside it (in a project).
fn native(launcher: &Path) -> Vec<PathBuf> {
    let Some(package) = launcher.ancestors().nth(2) else {
        return Vec::new();
    };
    let (npm, triple) = match std::env::consts::ARCH {
        "x86_64" => ("x64", "x86_64-unknown-linux-musl"),
        "aarch64" => ("arm64", "aarch64-unknown-linux-musl"),
        _ => return Vec::new(),
    };
    let binary = format!("codex-linux-{npm}/vendor/{triple}/bin/codex");
    [package.join("node_modules/@openai"), package.with_file_name("")]
        .map(|scope| scope.join(&binary))
        .to_vec()
}

/// `resume` comes after all options: some of them (and of the caller's) are options of `exec` only.
fn launch(request: &TurnRequest<'_>) -> Launch {
    let args = words([
        "exec",
        "--json",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
    ]);
    let mut launch = start(request, args, Stdin::Prompt);
    if let (false, Some(thread)) = (request.first_turn, request.agent_session_id) {
        launch.args.extend(words(["resume", thread]));
    }
    launch.args.push("-".to_owned());
    launch
}

/// The driver says which thread, which model, and when it is to ask.
fn converse(request: &TurnRequest<'_>) -> Launch {
    start(request, words(["app-server"]), Stdin::Conversation)
}

fn start(request: &TurnRequest<'_>, mut args: Vec<String>, stdin: Stdin) -> Launch {
    args.extend(words([
        // These three keep it from calling home: metrics, and the marketplaces of plug-ins and apps.
        "-c",
        "analytics.enabled=false",
        "--disable",
        "plugins",
        "--disable",
        "apps",
    ]));
    let mut files = Vec::new();
    if let (Some(model), Stdin::Prompt) = (request.model, stdin) {
        // The app-server has no such option.
        args.extend(words(["-m", model]));
    }
    if let Some(text) = request.system_prompt {
        // The value is TOML, whose basic strings take JSON's escapes.
        let path = serde_json::Value::String(file_path(request, SYSTEM_PROMPT));
        args.extend(["-c".to_owned(), format!("model_instructions_file={path}")]);
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    let mut links = mounted::shared_skills(request);
    let mut in_home = |name: &str, to: &Path| {
        links.extend(request.mounted.codex_home.iter().map(|home| Link {
            at: home.join(name),
            to: to.to_owned(),
        }));
    };
    match mounted::instructions(request) {
        Instructions::Plain => {}
        // It reads from the project's root down to the working directory; else that is where .git is.
        Instructions::Above(_) => args.extend(words(["-c", r#"project_root_markers=["AGENTS.md"]"#])),
        Instructions::Elsewhere(path) => in_home("AGENTS.md", path),
    }
    if let Some(config) = &request.mounted.codex_config {
        in_home("config.toml", config);
    }
    let (servers, env) = mcp::codex(request);
    args.extend(servers);
    files.extend(mcp::script(request.mcp_servers));
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
#[path = "codex_tests.rs"]
pub(super) mod tests;
