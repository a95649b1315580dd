//! Codex, as seen with 0.169.0: `codex exec --json`, and `codex app-server` for a dialog.

use std::path::{Path, PathBuf};

use super::built_in::{BuiltIn, Dialog, PromptLimit};
use crate::drivers;
use crate::formats::app_server::APP_SERVER;
use crate::formats::codex_json::CODEX_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Link, Stdin};
use crate::launch::mcp;
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static CODEX: BuiltIn = BuiltIn {
    name: "codex",
    programs: &["codex"],
    native,
    install: "npm install -g @openai/codex",
    // Beyond it, codex exits with code 1.
    prompt_limit: Some(PromptLimit::Characters(1 << 20)),
    capabilities: Capabilities {
        max_turns: false,
        allowed_tools: false,
        ..Capabilities::ALL
    },
    format: &CODEX_JSON,
    launch,
    dialog: Some(Dialog {
        launch: launch_dialog,
        capabilities: Capabilities::ALL,
        format: &APP_SERVER,
        files: &["image/"],
        driver: drivers::app_server::new,
    }),
};

/// With node < 22.15, npm's launcher stays the parent of the real program, and a kill of the launcher leaves the program
/// running.
///
/// The binary is in a package of its own. npm puts it inside of codex's package (global) or beside it (in a project).
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

/// `resume` comes after all options: some of ours and of the caller's are options of `exec` only.
fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Prompt);
    launch.add_args(["exec", "--json", "--skip-git-repo-check"]);
    launch.add_args(["--dangerously-bypass-approvals-and-sandbox"]);
    launch = finish(launch, request);
    launch.add_option("resume", request.resumed_session());
    launch.add_args(["-"]);
    launch
}

/// The driver chooses the thread, the model and when codex asks.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Dialog);
    launch.add_args(["app-server"]);
    finish(launch, request)
}

fn finish(mut launch: Launch, request: &TurnRequest<'_>) -> Launch {
    // These three stop its calls home: metrics, and the marketplaces of plug-ins and apps.
    launch.add_args([
        "-c",
        "analytics.enabled=false",
        "--disable",
        "plugins",
        "--disable",
        "apps",
    ]);
    if launch.stdin == Stdin::Prompt {
        // The app server has no such option.
        launch.add_option("-m", request.model);
    }
    if let Some(path) = launch.add_system_prompt(request) {
        // The value is TOML, whose basic strings take JSON's escapes.
        let path = serde_json::Value::String(path);
        launch.add_option("-c", Some(format!("model_instructions_file={path}")));
    }
    launch.links = workspace_files::shared_skill_links(request);
    let home = request.workspace_files.codex_home.as_deref();
    match workspace_files::agents_md(request) {
        AgentsMd::FoundByItself => {}
        // Codex reads from the project's root down to the working directory. Without this, the root is where .git is.
        AgentsMd::Above(_) => launch.add_args(["-c", r#"project_root_markers=["AGENTS.md"]"#]),
        AgentsMd::Elsewhere(path) => launch.links.extend(link_in(home, "AGENTS.md", path)),
    }
    if let Some(config) = &request.workspace_files.codex_config {
        launch.links.extend(link_in(home, "config.toml", config));
    }
    let (servers, env) = mcp::codex_args(request);
    launch.args.extend(servers);
    launch.env.extend(env);
    launch.files.extend(mcp::script(request.mcp_servers));
    launch.with_caller_args(request)
}

fn link_in(home: Option<&Path>, name: &str, to: &Path) -> Option<Link> {
    home.map(|home| Link {
        at: home.join(name),
        to: to.to_owned(),
    })
}
