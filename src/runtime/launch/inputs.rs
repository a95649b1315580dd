//! What a turn's launch, and the dialog with its agent, are made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::runtime::access::variables::Variables;
use crate::runtime::error::RuntimeError;
use crate::runtime::launch::links::Links;
use crate::runtime::launch::workspace_files::WorkspaceFolders;
use crate::runtime::session::handle::Session;
use crate::runtime::settings::Settings;
use promptd_agents::{Agent, Driver, NO_WORKSPACE_FILES, TurnRequest, WorkspaceFiles};
use promptd_keeper::TurnPaths;
use promptd_model::{CallerPath, ContentBlock, McpServer, Prompt, SessionRequest, TurnState};

/// Where inputs come from.
pub(crate) struct Sources<'a> {
    pub settings: &'a Settings,
    pub variables: &'a Variables,
    pub links: &'a Links,
    pub session: &'a Session,
}

impl Sources<'_> {
    /// A variable as the session's agent will have it.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let (request, agent) = (self.session.request(), self.session.agent());
        agent_variable(self.settings, self.variables, request, agent, name)
    }

    /// The home of the agent's user.
    fn home(&self) -> Option<PathBuf> {
        let (request, agent) = (self.session.request(), self.session.agent());
        agent_home(self.settings, self.variables, request, agent)
    }
}

/// A variable as an agent gets it: from the request, the agent's configuration, ours, or the server's own environment.
pub(crate) fn agent_variable(
    settings: &Settings,
    variables: &Variables,
    request: &SessionRequest,
    agent: &str,
    name: &str,
) -> Option<String> {
    let configured = || settings.agents.get(agent)?.env.get(name);
    let own = request.env.get(name).or_else(configured).cloned();
    own.or_else(|| variables.get_or_inherited(name))
}

/// The home of the agent's user: what `~` is in paths of a request.
pub(crate) fn agent_home(
    settings: &Settings,
    variables: &Variables,
    request: &SessionRequest,
    agent: &str,
) -> Option<PathBuf> {
    let home = agent_variable(settings, variables, request, agent, "HOME").map(PathBuf::from);
    home.filter(|home| home.is_absolute())
}

/// The MCP servers of the request over those of the configuration over those of files; the latter two only for an agent
/// that takes any. `home` is `~` in the path of a program and in an argument that is such a path: no shell reads them.
pub(crate) fn mcp_servers(
    settings: &Settings,
    request: &SessionRequest,
    agent: &Agent,
    mut of_files: BTreeMap<String, McpServer>,
    home: Option<&Path>,
) -> BTreeMap<String, McpServer> {
    if agent.capabilities().mcp {
        of_files.extend(settings.mcp_servers.clone());
    }
    of_files.extend(request.mcp_servers.clone());
    let texts = of_files
        .values_mut()
        .flat_map(|server| server.command.iter_mut().chain(&mut server.args));
    for text in texts {
        let path = CallerPath::parse(text).ok();
        if let Some(in_home @ CallerPath::InHome(_)) = path
            && let Some(path) = in_home.resolve(|| home.map(Path::to_owned))
        {
            *text = path.to_string_lossy().into_owned();
        }
    }
    of_files
}

/// The agent's view of a request, without workspace configuration files.
pub(crate) fn turn_request<'a>(
    request: &'a SessionRequest,
    cwd: &'a Path,
    prompt_file: &'a Path,
    files_dir: &'a Path,
    (prompt, blocks): (&'a str, &'a [ContentBlock]),
    agent_session_id: Option<&'a str>,
    first_turn: bool,
) -> TurnRequest<'a> {
    TurnRequest {
        prompt_file,
        prompt,
        blocks,
        files_dir,
        first_turn,
        agent_session_id,
        cwd,
        steerable: request.steerable,
        permission: request.permission.unwrap_or_default(),
        grants: &[],
        mcp_servers: &request.mcp_servers,
        workspace_files: &NO_WORKSPACE_FILES,
        model: request.model.as_deref(),
        system_prompt: request.system_prompt.as_deref(),
        max_turns: request.max_turns,
        allowed_tools: &request.allowed_tools,
        args: &request.args,
        root: nix::unistd::geteuid().is_root(),
    }
}

/// The inputs of one attempt.
#[derive(Debug)]
pub(crate) struct TurnInputs {
    pub(crate) prompt: Prompt,
    pub(crate) prompt_file: PathBuf,
    servers: BTreeMap<String, McpServer>,
    files: WorkspaceFiles,
    /// The agent's own session that it resumes.
    resumes: Option<String>,
    /// What callers have granted in the session.
    grants: Vec<Value>,
}

impl TurnInputs {
    /// Reads them for a launch.
    ///
    /// # Errors
    /// Also where a file of MCP servers is wrong.
    pub(crate) fn read(from: &Sources<'_>, agent: &Agent, turn: &TurnState) -> Result<Self, RuntimeError> {
        Self::read_or(from, agent, turn, Err)
    }

    /// Reads them for an agent that runs. A file that became wrong since its launch, by the agent's own hand or with its
    /// repository, must not end the dialog.
    pub(crate) fn read_again(from: &Sources<'_>, agent: &Agent, turn: &TurnState) -> Result<Self, RuntimeError> {
        Self::read_or(from, agent, turn, |error| {
            tracing::warn!(%error, "the MCP servers in this file are left out");
            Ok(BTreeMap::new())
        })
    }

    fn read_or(
        from: &Sources<'_>,
        agent: &Agent,
        turn: &TurnState,
        wrong_file: fn(RuntimeError) -> Result<BTreeMap<String, McpServer>, RuntimeError>,
    ) -> Result<Self, RuntimeError> {
        let session = from.session;
        let folders = WorkspaceFolders {
            cwd: session.cwd(),
            workspace: &from.settings.workspace,
            is_our_link: &|path| from.links.has(path),
            variable: &|name| from.variable(name),
        };
        let of_files = if agent.capabilities().mcp {
            folders.mcp_servers().or_else(wrong_file)?
        } else {
            BTreeMap::new()
        };
        session.file_secrets.add_launch(from.settings, &of_files)?;
        let state = session.state();
        Ok(Self {
            prompt: session.journal.read_prompt(turn)?,
            prompt_file: TurnPaths::new(&session.folder, turn.turn).prompt(),
            servers: mcp_servers(
                from.settings,
                session.request(),
                agent,
                of_files,
                from.home().as_deref(),
            ),
            files: folders.find(),
            resumes: state.resumed_session_id(turn.turn).map(str::to_owned),
            grants: state.session_grants().cloned().collect(),
        })
    }

    /// Whether the agent starts MCP servers.
    pub(crate) fn has_mcp_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// The request of this attempt; `new_id` is for an agent that takes the id of a new session from us.
    pub(crate) fn request<'a>(&'a self, session: &'a Session, new_id: Option<&'a str>) -> TurnRequest<'a> {
        let (own, chosen) = (session.request(), &self.prompt.options);
        TurnRequest {
            mcp_servers: &self.servers,
            workspace_files: &self.files,
            model: chosen.model.as_deref().or(own.model.as_deref()),
            permission: chosen.permission.or(own.permission).unwrap_or_default(),
            max_turns: chosen.max_turns.or(own.max_turns),
            grants: &self.grants,
            ..turn_request(
                session.request(),
                session.cwd(),
                &self.prompt_file,
                &session.folder,
                (&self.prompt.text, &self.prompt.blocks),
                self.resumes.as_deref().or(new_id),
                self.resumes.is_none(),
            )
        }
    }

    /// What talks with the agent. It reads the journal, and so begins the same every time: it does not get the random id
    /// of a new session.
    pub(crate) fn driver(&self, agent: &Agent, session: &Session) -> Option<Box<dyn Driver>> {
        agent.driver(&self.request(session, None))
    }
}
