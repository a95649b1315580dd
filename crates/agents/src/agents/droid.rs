//! Factory's droid, as seen with 0.215.0: `droid exec -o stream-json`, and `droid exec --output-format acp` for a dialog.
//!
//! What is not obvious:
//! - A follow-up turn first asks Factory's server for the session. If the server cannot be reached, droid exits with 1
//!   and writes to neither stream, nor to its log in `~/.factory/logs`.
//! - If neither the server nor droid knows a session, droid begins a new one under the same id, without an error. So
//!   promptd checks that the session's file exists. It is in a folder named after the working directory.
//! - In a dialog, droid wants `FACTORY_API_KEY` or a login also for a model of one's own, and says so. It takes no options
//!   for its model, tools and instructions then: the model is set by the protocol, and the instructions are a link in its
//!   home.

use std::path::PathBuf;

use super::built_in::{BuiltIn, Dialog, acp_dialog, no_native};
use crate::formats::droid_json::DROID_JSON;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Link, SessionFile, Stdin};
use crate::launch::request::TurnRequest;
use crate::launch::workspace_files::{self, AgentsMd};

pub(crate) static DROID: BuiltIn = BuiltIn {
    name: "droid",
    programs: &["droid"],
    // The installed program is the native binary itself, unless npm ran no scripts. Then the launcher does not forward
    // signals, and the stop of the process tree finds the binary.
    native: no_native,
    install: "npm install -g droid",
    prompt_limit: None,
    capabilities: Capabilities {
        images: false,
        steering: false,
        mcp: false,
        // Droid can only add to its own.
        system_prompt: false,
        max_turns: false,
        ..Capabilities::ALL
    },
    format: &DROID_JSON,
    launch,
    dialog: Some(Dialog {
        capabilities: Capabilities {
            allowed_tools: false,
            ..Capabilities::ALL
        },
        ..acp_dialog(launch_dialog)
    }),
};

/// Where droid reads the instructions for all folders, below the home.
const INSTRUCTIONS: &str = ".factory/AGENTS.md";

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Prompt);
    launch.add_args(["exec", "-o", "stream-json", "--skip-permissions-unsafe"]);
    launch.add_option("-s", request.resumed_session());
    launch.session_file = request.resumed_session().map(|session| SessionFile {
        home: &["FACTORY_HOME_OVERRIDE", "HOME"],
        folder: ".factory/sessions",
        file: format!("{session}.jsonl"),
    });
    launch.add_option("-m", request.model);
    if !request.allowed_tools.is_empty() {
        launch.add_option("--only-tools", Some(request.allowed_tools.join(",")));
    }
    if let AgentsMd::Above(path) | AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        launch.add_option("--append-system-prompt-file", Some(path.display()));
    }
    finish(launch, request)
}

/// Droid asks before all that changes something, unless its settings give it more autonomy.
fn launch_dialog(request: &TurnRequest<'_>) -> Launch {
    let mut launch = Launch::new(Stdin::Dialog);
    launch.add_args(["exec", "--output-format", "acp"]);
    let mut launch = finish(launch, request);
    if let AgentsMd::Above(path) | AgentsMd::Elsewhere(path) = workspace_files::agents_md(request) {
        let link = |home: &PathBuf| Link {
            at: home.join(INSTRUCTIONS),
            to: path.to_owned(),
        };
        launch.links.extend(request.workspace_files.home.as_ref().map(link));
    }
    launch
}

fn finish(mut launch: Launch, request: &TurnRequest<'_>) -> Launch {
    launch.links = workspace_files::shared_skill_links(request);
    launch.add_vars([
        ("FACTORY_DROID_AUTO_UPDATE_ENABLED", "false"),
        ("FACTORY_OTEL_ENABLED", "false"),
    ]);
    launch.with_caller_args(request)
}
