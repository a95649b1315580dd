//! Tests of the agents as a whole, and what all tests share: requests, launches, and the recorded output of real programs.

use std::collections::BTreeMap;
use std::path::Path;

use crate::launch::command::Launch;
use crate::{Agent, NO_WORKSPACE_FILES, TurnRequest, find};
use promptd_model::{FinalEvent, McpServer, Observation, PermissionMode, Stream};

mod claude;
mod codex;
mod gemini;
mod launches;
mod observers;
mod requests;

/// The recorded output of a real program.
macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/agents/recorded/",
            $name,
            ".ndjson"
        ))
    };
}
pub(crate) use recorded;

const UUID: &str = "0198d0b4-0000-7000-8000-000000000001";

static NO_SERVERS: BTreeMap<String, McpServer> = BTreeMap::new();

/// A request for a first turn with nothing special about it.
pub(crate) fn plain() -> TurnRequest<'static> {
    TurnRequest {
        prompt_file: Path::new("/s/prompt"),
        prompt: "hello",
        blocks: &[],
        cwd: Path::new("/w"),
        permission: PermissionMode::Bypass,
        grants: &[],
        steerable: false,
        mcp_servers: &NO_SERVERS,
        workspace_files: &NO_WORKSPACE_FILES,
        files_dir: Path::new("/s"),
        first_turn: true,
        agent_session_id: Some(UUID),
        model: None,
        system_prompt: None,
        max_turns: None,
        allowed_tools: &[],
        args: &[],
        root: false,
    }
}

pub(crate) fn agent(name: &str) -> Agent {
    Agent::BuiltIn(find(name).expect("a built-in agent"))
}

/// The launch for a request, and its arguments as one line.
pub(crate) fn launch(name: &str, request: &TurnRequest<'_>) -> (String, Launch) {
    let launch = agent(name).launch(request).expect("the agent takes it");
    (launch.args.join(" "), launch)
}

/// Gives a recorded stdout to the agent's observer.
pub(crate) fn observe(name: &str, stdout: &str) -> Observation {
    let mut observer = agent(name).observer(false).expect("it has a stream");
    for line in stdout.lines() {
        observer.observe_line(Stream::Stdout, line.as_bytes());
        assert!(observer.observation().last_line_known, "{line}");
    }
    observer.observation().clone()
}

pub(crate) fn final_event(name: &str, stdout: &str) -> FinalEvent {
    observe(name, stdout)
        .final_event
        .expect("the stream ends with a final event")
}

/// Owned variables from literals.
pub(crate) fn vars<const N: usize>(vars: [(&str, &str); N]) -> Vec<(String, String)> {
    vars.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
