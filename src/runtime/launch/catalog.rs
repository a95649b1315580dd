//! The agents that a request can name: those that we know, and those of the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use crate::runtime::error::RuntimeError;
use crate::runtime::launch::probe::Versions;
use crate::runtime::launch::program::find_program;
use crate::runtime::session::handle::Session;
use crate::runtime::settings::Settings;
use promptd_agents::updates::Translation;
use promptd_agents::{self as agents, Agent, Capabilities, Custom, Evidence};
use promptd_model::{PermissionMode, SessionRequest, TurnState};

/// An agent, as `GET /v1/agents` shows it.
#[derive(Clone, Debug)]
pub struct AgentInfo {
    /// Its name.
    pub name: String,
    /// Its program, when it is installed.
    pub path: Option<PathBuf>,
    /// The command that installs it.
    pub install: Option<String>,
    /// From the configuration.
    pub configured: bool,
    /// How we know it; `None` for one from the configuration.
    pub evidence: Option<Evidence>,
    /// What a request may ask of it.
    pub capabilities: Capabilities,
    /// What is missing, in a sentence.
    pub missing: Option<String>,
}

/// An agent by its name: from the configuration, else one that we know.
pub(crate) fn find_agent(settings: &Settings, name: &str) -> Option<Agent> {
    let configured = settings.agents.get(name).map(|configured| {
        Agent::Custom(Custom {
            name: name.to_owned(),
            command: configured.command.clone(),
            prompt: configured.prompt,
            stream: configured.stream,
            stdout: configured.stdout,
            ask_mode: configured.ask_mode.clone(),
        })
    });
    configured.or_else(|| agents::find(name).map(Agent::BuiltIn))
}

/// All agents, and whether they are installed.
pub fn list(settings: &Settings) -> Vec<AgentInfo> {
    let known = agents::built_in_agents()
        .map(|known| known.name.to_owned())
        .filter(|name| !settings.agents.contains_key(name));
    known
        .chain(settings.agents.keys().cloned())
        .filter_map(|name| describe(settings, name))
        .collect()
}

fn describe(settings: &Settings, name: String) -> Option<AgentInfo> {
    let agent = find_agent(settings, &name)?;
    let path = find_program(&agent, &SessionRequest::default(), &settings.workspace).map(|program| program.found);
    let missing = path
        .is_none()
        .then(|| format!("no {} on PATH", agent.programs().join(" or ")));
    let capabilities = agent.capabilities();
    Some(AgentInfo {
        configured: matches!(agent, Agent::Custom(_)),
        install: agent.install().map(str::to_owned),
        name,
        path,
        evidence: agent.evidence(),
        capabilities,
        missing,
    })
}

/// All agents, with what each installed one says of its version; asking can take seconds.
pub(crate) async fn list_with_versions(
    settings: Arc<Settings>,
    versions: Arc<Versions>,
) -> Vec<(AgentInfo, Option<String>)> {
    let ask = move || {
        let agents = list(&settings);
        // An unknown program may do anything on `--version`.
        let known = |agent: &AgentInfo| agent.path.clone().filter(|_| !agent.configured);
        let versions = versions.of(&agents.iter().map(known).collect::<Vec<_>>());
        agents.into_iter().zip(versions).collect()
    };
    tokio::task::spawn_blocking(ask).await.unwrap_or_default()
}

/// What translates a session's journal, behind the record `after`, to `view=updates`.
pub(crate) fn translation(settings: &Settings, session: &Session, after: u64) -> Translation {
    let agent = find_agent(settings, session.agent());
    let translator = agent.and_then(|agent| agent.translator(is_talked_with(session)));
    Translation::new(translator, after)
}

/// The name of the format that a session's agent writes; none where its configuration has gone.
pub(crate) fn format_name(settings: &Settings, session: &Session) -> Option<&'static str> {
    let agent = find_agent(settings, session.agent())?;
    Some(agent.format(is_talked_with(session)).name)
}

/// The format of a turn, if it is not the session's usual one.
pub(crate) fn special_format(settings: &Settings, session: &Session, turn: &TurnState) -> Option<String> {
    let agent = find_agent(settings, session.agent())?;
    let (usual, own) = (
        agent.format(is_talked_with(session)),
        agent.format(needs_dialog(session, turn)),
    );
    (own != usual).then(|| own.name.to_owned())
}

/// Whether the agent is talked with in this turn, if it can be.
pub(crate) fn needs_dialog(session: &Session, turn: &TurnState) -> bool {
    let permission = turn.options.permission.or(session.request().permission);
    asks_or_is_steered(session, permission) || turn.has_files
}

/// Whether the agent is talked with in every turn that does not choose otherwise.
fn is_talked_with(session: &Session) -> bool {
    asks_or_is_steered(session, session.request().permission)
}

fn asks_or_is_steered(session: &Session, permission: Option<PermissionMode>) -> bool {
    permission == Some(PermissionMode::Ask) || session.request().steerable
}

/// Whether the agent of the session's current turn is talked with: then its standard input is ours.
pub(crate) fn has_dialog(settings: &Settings, session: &Session) -> bool {
    let state = session.state();
    let needs_dialog = state
        .current()
        .map_or_else(|| is_talked_with(session), |turn| needs_dialog(session, turn));
    find_agent(settings, session.agent()).is_some_and(|agent| agent.format(needs_dialog).is_dialog)
}

/// The agents that can do something.
pub(crate) fn names_with(settings: &Settings, is_able: impl Fn(Capabilities) -> bool) -> Vec<String> {
    let mut names: Vec<String> = agents::built_in_agents().map(|known| known.name.to_owned()).collect();
    names.extend(
        settings
            .agents
            .keys()
            .filter(|name| agents::find(name).is_none())
            .cloned(),
    );
    names.retain(|name| find_agent(settings, name).is_some_and(|agent| is_able(agent.capabilities())));
    names
}

/// Refuses an agent that takes no message while it works.
pub(crate) fn check_steering(settings: &Settings, name: &str) -> Result<(), RuntimeError> {
    if find_agent(settings, name).is_some_and(|agent| agent.capabilities().steering) {
        return Ok(());
    }
    Err(RuntimeError::NotSteerable {
        agent: name.to_owned(),
        able: names_with(settings, |able| able.steering),
    })
}
