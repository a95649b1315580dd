//! From a request to a program with arguments, and the files that stand ready when it starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::runtime::access::environment::Variables;
use crate::runtime::launch::links::Links;
use crate::runtime::launch::mounted::{self, Places};
use crate::runtime::launch::program::{program, search_path};
use crate::runtime::launch::scratch::empty_folder;
use crate::runtime::launch::setup;
use crate::runtime::launch::validate::{refuse_lost_session, refuse_open_folder, unsupported};
use crate::runtime::session::Session;
use crate::runtime::{AgentInfo, PromptBy, RuntimeError, Settings};
use promptd_agents::{self as agents, Agent, Custom, Driver, NO_WORKSPACE_FILES, TurnRequest, WorkspaceFiles};
use promptd_journal::Reader;
use promptd_keeper::{Launch, Stdin, TurnPaths};
use promptd_model::decode;
use promptd_model::{Body, McpServer, SessionRequest, StdinMode, TurnState};
use promptd_sys as sys;

/// An agent by its name: from the configuration, else one that we know.
pub(crate) fn agent(settings: &Settings, name: &str) -> Option<Agent> {
    let configured = settings.agents.get(name).map(|configured| {
        let prompt = match configured.prompt {
            PromptBy::Stdin => agents::PromptBy::Stdin,
            PromptBy::Argument => agents::PromptBy::Argument,
            PromptBy::File => agents::PromptBy::File,
        };
        Agent::Custom(Custom {
            name: name.to_owned(),
            command: configured.command.clone(),
            prompt,
            stream: configured.stream,
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
    let agent = agent(settings, &name)?;
    let path = program(&agent, &SessionRequest::default(), &settings.workspace).map(|program| program.found);
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

/// The session's servers over the configuration's over those of files; the latter two only for an agent that takes any.
pub(crate) fn servers(
    settings: &Settings,
    request: &SessionRequest,
    agent: &Agent,
    mut servers: BTreeMap<String, McpServer>,
) -> BTreeMap<String, McpServer> {
    if agent.capabilities().mcp {
        servers.extend(settings.mcp_servers.clone());
    }
    servers.extend(request.mcp_servers.clone());
    servers
}

pub(crate) fn turn_request<'a>(
    request: &'a SessionRequest,
    cwd: &'a Path,
    prompt_file: &'a Path,
    files_dir: &'a Path,
    prompt: &'a str,
    agent_session_id: Option<&'a str>,
    first_turn: bool,
) -> TurnRequest<'a> {
    TurnRequest {
        prompt_file,
        prompt,
        files_dir,
        first_turn,
        agent_session_id,
        cwd,
        permission: request.permission.unwrap_or_default(),
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

/// A variable as the session's agent will have it.
fn variable(settings: &Settings, variables: &Variables, session: &Session, name: &str) -> Option<String> {
    let configured = settings.agents.get(session.agent());
    let told = session.request().env.get(name);
    let told = told.or_else(|| configured?.env.get(name)).map(String::as_str);
    let told = told.or_else(|| variables.get(name)).map(str::to_owned);
    told.or_else(|| std::env::var(name).ok())
}

/// What a turn's launch, and what is said to its agent, depend on beyond the session.
struct Basis {
    prompt: String,
    prompt_file: PathBuf,
    servers: BTreeMap<String, McpServer>,
    workspace_files: WorkspaceFiles,
    /// The agent's own session that it is to go on with.
    resumes: Option<String>,
}

impl Basis {
    fn of(
        settings: &Settings,
        variables: &Variables,
        links: &Links,
        session: &Session,
        agent: &Agent,
        turn: &TurnState,
        wrong_file: fn(RuntimeError) -> Result<BTreeMap<String, McpServer>, RuntimeError>,
    ) -> Result<Self, RuntimeError> {
        let request = session.request();
        let places = Places {
            cwd: session.cwd(),
            workspace: &settings.workspace,
            is_ours: &|path| links.has(path),
            variable: &|name| variable(settings, variables, session, name),
        };
        let of_files = if agent.capabilities().mcp {
            places.servers().or_else(wrong_file)?
        } else {
            BTreeMap::new()
        };
        session.learn_secrets(&of_files)?;
        Ok(Self {
            prompt: read_prompt(session, turn)?,
            prompt_file: TurnPaths::new(&session.folder, turn.turn).prompt(),
            servers: servers(settings, request, agent, of_files),
            workspace_files: places.find(),
            resumes: session.state().agent_session_id().map(str::to_owned),
        })
    }

    /// The request; `fresh` is the id for a conversation that begins.
    fn request<'a>(&'a self, session: &'a Session, fresh: Option<&'a str>) -> TurnRequest<'a> {
        TurnRequest {
            mcp_servers: &self.servers,
            workspace_files: &self.workspace_files,
            ..turn_request(
                session.request(),
                session.cwd(),
                &self.prompt_file,
                &session.folder,
                &self.prompt,
                self.resumes.as_deref().or(fresh),
                self.resumes.is_none(),
            )
        }
    }
}

/// Writes the turn's files and says what to run.
pub(crate) fn prepare(
    settings: &Settings,
    variables: &Variables,
    links: &Links,
    session: &Session,
    turn: &TurnState,
) -> Result<Launch, RuntimeError> {
    let request = session.request();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RuntimeError::Io { path, source }
    };
    let (name, cwd) = (session.agent(), session.cwd());
    let setup = setup::preparation(session);
    // Git makes the folder of a repository, or says why it cannot.
    let folder = setup.as_ref().map_or(cwd, |setup| setup.base.as_path());
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let agent = agent(settings, name).ok_or_else(|| RuntimeError::AgentNotFound {
        agent: name.to_owned(),
        nearest: None,
        known: Vec::new(),
    })?;
    let program = program(&agent, request, cwd).ok_or_else(|| RuntimeError::AgentNotInstalled {
        agent: name.to_owned(),
        program: agent.programs().join(" or "),
        install: agent.install().map(str::to_owned),
        installed: Vec::new(),
    })?;
    let basis = Basis::of(settings, variables, links, session, &agent, turn, Err)?;
    sys::replace_file(&basis.prompt_file, basis.prompt.as_bytes()).map_err(failed(&basis.prompt_file))?;
    let fresh = new_conversation_id().map_err(failed(Path::new("/dev/urandom")))?;
    let asked = basis.request(session, Some(&fresh));
    let launch = agent.launch(&asked).map_err(unsupported)?;
    refuse_open_folder(&agent, &launch, &session.folder)?;
    refuse_lost_session(&agent, &launch, &|name| variable(settings, variables, session, name))?;
    for name in &launch.folders {
        let path = session.folder.join(name);
        empty_folder(&path).map_err(failed(&path))?;
    }
    let (own, in_homes): (Vec<_>, Vec<_>) = launch
        .links
        .iter()
        .partition(|link| link.at.starts_with(&session.folder));
    mounted::link(&own)?;
    links.make(&in_homes, session.id(), turn.turn)?;
    for (name, content) in &launch.files {
        let path = session.folder.join(name);
        sys::replace_file(&path, content.as_bytes()).map_err(failed(&path))?;
    }
    let stdin = match (request.stdin, launch.stdin) {
        (Some(StdinMode::Open), agents::Stdin::Null) | (_, agents::Stdin::Dialog) => Stdin::Open,
        (_, agents::Stdin::Prompt) => Stdin::Prompt,
        (_, agents::Stdin::Null) => Stdin::Null,
    };
    let mut env = vec![
        ("PATH".to_owned(), search_path(request).to_string_lossy().into_owned()),
        // A shell that changes its folder changes this, too; opencode works where it says.
        ("PWD".to_owned(), cwd.to_string_lossy().into_owned()),
    ];
    env.extend(launch.env);
    let configured = settings.agents.get(name).map(|configured| &configured.env);
    env.extend(
        configured
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    // The caller's own words come last and win, but for PATH, which contains them.
    env.extend(request.env.clone().into_iter().filter(|(name, _)| name != "PATH"));
    let mut args: Vec<String> = program.script.into_iter().collect();
    args.extend(launch.args);
    Ok(Launch {
        program: program.run,
        args,
        env,
        cwd: cwd.to_owned(),
        stdin,
        setup,
    })
}

/// Whether we talk with the session's agent: then its standard input is ours.
pub(crate) fn converses(agent: &Agent, session: &Session) -> bool {
    let nowhere = Path::new("/");
    let request = turn_request(session.request(), nowhere, nowhere, nowhere, "", None, true);
    agent.driver(&request).is_some()
}

/// What talks with the agent in one attempt of a turn. It is fed from the journal, and so begins the same every time: an
/// id for a new conversation, which is drawn at random, is none of its business.
pub(crate) fn driver(
    settings: &Settings,
    variables: &Variables,
    links: &Links,
    session: &Session,
    agent: &Agent,
    turn: &TurnState,
) -> Result<Option<Box<dyn Driver>>, RuntimeError> {
    // The launch has refused a wrong file. One that became wrong since, by the agent's own hand or with its repository,
    // must not keep us from talking with an agent that runs.
    let basis = Basis::of(settings, variables, links, session, agent, turn, |error| {
        tracing::warn!(%error, "the servers of tools in this file are left out");
        Ok(BTreeMap::new())
    })?;
    Ok(agent.driver(&basis.request(session, None)))
}

/// A random UUID for an agent that takes its session's id from us.
fn new_conversation_id() -> std::io::Result<String> {
    Ok(uuid::Builder::from_random_bytes(sys::random_bytes()?)
        .into_uuid()
        .to_string())
}

/// The prompt, from where it was accepted: the journal.
pub(crate) fn read_prompt(session: &Session, turn: &TurnState) -> Result<String, RuntimeError> {
    let mut reader = Reader::open(&session.folder)?;
    reader.seek(turn.prompt_seq.saturating_sub(1))?;
    let mut line = Vec::new();
    while let Some(piece) = reader.read()? {
        let end = memchr::memchr(b'\n', &piece.bytes);
        line.extend_from_slice(piece.bytes.get(..end.unwrap_or(piece.bytes.len())).unwrap_or_default());
        if end.is_some() {
            break;
        }
    }
    match decode(&line).map(|record| record.body) {
        Some(Body::Prompt(prompt)) => Ok(prompt.text),
        Some(_) | None => Err(RuntimeError::SessionDamaged {
            id: session.id().to_string(),
            reason: format!("record {} is no prompt", turn.prompt_seq),
        }),
    }
}

/// How long an interrupted agent gets before SIGTERM and SIGKILL.
pub(crate) const INTERRUPT_GRACE: Duration = Duration::from_secs(10);
