//! What the command line takes from `api` and `runtime`, in one place: stand-ins until the branches meet.
//!
//! At the merge this file becomes
//! `pub(super) use crate::api::{Doors, ServeError, Server, openapi_json};` and the functions below.

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::{AgentInfo, Runtime, RuntimeError, Settings};

/// What to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doors {
    /// Everything the settings name, and the control socket.
    All,
    /// The control socket alone.
    ControlOnly,
}

/// The server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ServeError(String);

/// A server that listens.
#[derive(Debug)]
pub(super) struct Server {}

#[expect(clippy::unused_async, clippy::unused_self, reason = "stand-ins until the branches meet")]
impl Server {
    pub(super) async fn bind(_runtime: Arc<Runtime>, doors: Doors) -> Result<Self, ServeError> {
        Err(ServeError(format!("src/api is not merged yet ({doors:?})")))
    }

    pub(super) async fn run(self) {}
}

/// The OpenAPI document.
pub(super) fn openapi_json() -> String {
    "{}\n".to_owned()
}

/// Starts a runtime; `None` while another one has the home.
pub(super) async fn start(settings: &Settings) -> Result<Option<Arc<Runtime>>, RuntimeError> {
    match Runtime::start(settings.clone()).await {
        Ok(runtime) => Ok(Some(runtime)),
        // At the merge: Err(RuntimeError::HomeInUse { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts changed settings in force. At the merge: `runtime.reload(settings)`.
pub(super) fn reload(_runtime: &Runtime, _settings: Settings) {}

/// Stops all agents. At the merge: `runtime.stop_all(grace).await`.
#[expect(clippy::unused_async, reason = "a stand-in until the branches meet")]
pub(super) async fn stop_all(_runtime: &Arc<Runtime>, _grace: Duration) {}

/// All agents, without a runtime. At the merge: `runtime::launch::list(settings)`, exported.
pub(super) fn agents(settings: &Settings) -> Vec<AgentInfo> {
    let known = [
        ("shell", "bash", "apt-get install bash"),
        ("claude", "claude", "npm install -g @anthropic-ai/claude-code"),
        ("codex", "codex", "npm install -g @openai/codex"),
        ("gemini", "gemini", "npm install -g @google/gemini-cli"),
    ];
    let known = known.map(|(name, program, install)| (name.to_owned(), program.to_owned(), Some(install.to_owned())));
    let configured = settings.agents.iter().map(|(name, agent)| (name.clone(), agent.command.first().cloned().unwrap_or_default(), None));
    known
        .into_iter()
        .chain(configured)
        .map(|(name, program, install)| {
            let path = which::which(&program).ok();
            let missing = path.is_none().then(|| format!("no {program} on PATH"));
            AgentInfo { name, path, configured: install.is_none(), install, resume: false, missing }
        })
        .collect()
}
