//! Factory's droid, as seen with 0.215.0: `droid exec -o stream-json`.
//!
//! What is not obvious:
//! - A follow-up turn first asks Factory's server for the session. Where that cannot be reached, droid exits with 1 and
//!   says nothing at all, on neither stream; its log in `~/.factory/logs` does.
//! - A session that neither the server nor droid knows is begun anew under the same id, without a word. So promptd looks
//!   for its file, in a folder named after the working directory.

use super::formats::DROID_JSON;
use super::known::{Capabilities, Evidence, Known, no_native};
use super::mounted::{self, Instructions};
use super::{KeptSession, Launch, TurnRequest, vars, words};

pub(super) static DROID: Known = Known {
    name: "droid",
    programs: &["droid"],
    // The installed program is the native binary itself, but where npm ran no scripts: then the launcher passes signals
    // on to nobody, and the stop by the process tree finds the binary.
    native: no_native,
    install: "npm install -g droid",
    prompt_limit: None,
    chooses_session_id: false,
    evidence: Evidence::Tested,
    required_env: &[],
    capabilities: Capabilities {
        resume: true,
        interrupt: true,
        permissions: false,
        mcp: false,
        model: true,
        // It can only be added to.
        system_prompt: false,
        max_turns: false,
        allowed_tools: true,
    },
    format: &DROID_JSON,
    launch,
    conversation: None,
};

fn launch(request: &TurnRequest<'_>) -> Launch {
    let mut args = words(["exec", "-o", "stream-json", "--skip-permissions-unsafe"]);
    let mut goes_on_with = None;
    if let (false, Some(session)) = (request.first_turn, request.agent_session_id) {
        args.extend(words(["-s", session]));
        goes_on_with = Some(KeptSession {
            home: &["FACTORY_HOME_OVERRIDE", "HOME"],
            folder: ".factory/sessions",
            file: format!("{session}.jsonl"),
        });
    }
    if let Some(model) = request.model {
        args.extend(words(["-m", model]));
    }
    if !request.allowed_tools.is_empty() {
        args.extend(words(["--only-tools", &request.allowed_tools.join(",")]));
    }
    if let Instructions::Above(path) | Instructions::Elsewhere(path) = mounted::instructions(request) {
        args.extend(words(["--append-system-prompt-file", &path.to_string_lossy()]));
    }
    Launch {
        goes_on_with,
        links: mounted::shared_skills(request),
        env: vars([
            ("FACTORY_DROID_AUTO_UPDATE_ENABLED", "false"),
            ("FACTORY_OTEL_ENABLED", "false"),
        ]),
        ..request.prompted(args)
    }
}
