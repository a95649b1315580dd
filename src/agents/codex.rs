//! Codex, as seen with 0.169.0: `codex exec --json`.

use std::path::{Path, PathBuf};

use super::formats::CODEX_JSON;
use super::known::{Capabilities, Evidence, Known, PromptLimit};
use super::{Launch, Stdin, TurnRequest, file_path, words};

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
        permissions: false,
        mcp: false,
        model: true,
        system_prompt: true,
        max_turns: false,
        allowed_tools: false,
    },
    format: &CODEX_JSON,
    launch,
    conversation: None,
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
    let mut args = words([
        "exec",
        "--json",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        // These three keep it from calling home: metrics, and the marketplaces of plug-ins and apps.
        "-c",
        "analytics.enabled=false",
        "--disable",
        "plugins",
        "--disable",
        "apps",
    ]);
    let mut files = Vec::new();
    if let Some(model) = request.model {
        args.extend(words(["-m", model]));
    }
    if let Some(text) = request.system_prompt {
        // The value is TOML, whose basic strings take JSON's escapes.
        let path = serde_json::Value::String(file_path(request, SYSTEM_PROMPT));
        args.extend(["-c".to_owned(), format!("model_instructions_file={path}")]);
        files.push((SYSTEM_PROMPT, text.to_owned()));
    }
    args.extend_from_slice(request.args);
    if let (false, Some(thread)) = (request.first_turn, request.agent_session_id) {
        args.extend(words(["resume", thread]));
    }
    args.push("-".to_owned());
    Launch {
        args,
        stdin: Stdin::Prompt,
        files,
        ..Launch::default()
    }
}

#[cfg(test)]
#[path = "codex_tests.rs"]
pub(super) mod tests;
