//! From a request to a program with arguments: checks before it is accepted, files before it is started.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::environment::Variables;
use super::mounted::{self, Places};
use super::program::{program, search_path};
use super::scratch::empty_folder;
use super::session::Session;
use super::{AgentInfo, PromptBy, RuntimeError, Settings, delivery, setup};
use crate::agents::{self, Agent, Custom, NOTHING_MOUNTED, TurnRequest, Unsupported};
use crate::journal::{Reader, decode};
use crate::keeper::{Launch, Stdin, TurnPaths};
use crate::model::{Body, McpServer, SessionRequest, StdinMode, TurnState, nearest};
use crate::sys;

/// The longest timeout that means one: a hundred years, in seconds.
const LONGEST: f64 = 3.2e9;

/// An agent by its name: from the configuration, else one that we know.
pub(super) fn agent(settings: &Settings, name: &str) -> Option<Agent> {
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
    configured.or_else(|| agents::find(name).map(Agent::Known))
}

/// All agents, and whether they are installed.
pub fn list(settings: &Settings) -> Vec<AgentInfo> {
    let known = agents::known()
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

/// The default where a request names no agent; then the checks that need no disk.
pub(super) fn check(
    settings: &Settings,
    variables: &Variables,
    request: &SessionRequest,
    prompt: &str,
) -> Result<(String, PathBuf), RuntimeError> {
    let name = request.agent.clone().unwrap_or_else(|| settings.default_agent.clone());
    let Some(agent) = agent(settings, &name) else {
        let known: Vec<String> = list(settings).into_iter().map(|agent| agent.name).collect();
        let nearest = nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(RuntimeError::AgentNotFound {
            agent: name,
            nearest,
            known,
        });
    };
    check_values(request)?;
    delivery::requested(&request.sinks)?;
    let base = working_directory(settings, request)?;
    let cwd = setup::check(request, variables, base)?;
    if program(&agent, request, &cwd).is_none() {
        let install = agent.install().map(str::to_owned);
        let installed = list(settings)
            .into_iter()
            .filter(|agent| agent.path.is_some())
            .map(|agent| agent.name)
            .collect();
        return Err(RuntimeError::AgentNotInstalled {
            program: agent.programs().join(" or "),
            agent: name,
            install,
            installed,
        });
    }
    check_environment(settings, variables, request, &agent)?;
    // A dry run: what the agent cannot do is refused now, not when its turn comes.
    let folder = Path::new("/");
    let dry_run = TurnRequest {
        mcp_servers: &servers(settings, request, &agent, BTreeMap::new()),
        ..turn_request(request, &cwd, folder, folder, prompt, None, true)
    };
    let launch = agent.launch(&dry_run).map_err(unsupported)?;
    refuse_open_folder(&agent, &launch, &settings.home)?;
    Ok((name, cwd))
}

/// The session's servers over the configuration's over those of files; the latter two only for an agent that takes any.
fn servers(
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

/// Some agents do not trust a file below a folder that others may write to, and go on without it.
fn refuse_open_folder(agent: &Agent, launch: &agents::Launch, folder: &Path) -> Result<(), RuntimeError> {
    let Some(field) = launch.needs_private_folders else {
        return Ok(());
    };
    let is_open = |folder: &&Path| fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o022 != 0);
    folder.ancestors().find(is_open).map_or(Ok(()), |open| {
        let hint = format!(
            "it takes no settings from below {}, which others may write to; start promptd with a --home elsewhere",
            open.display()
        );
        Err(unsupported(Unsupported {
            agent: agent.name().to_owned(),
            field,
            hint,
        }))
    })
}

fn unsupported(error: Unsupported) -> RuntimeError {
    RuntimeError::Unsupported {
        agent: error.agent,
        field: error.field.to_owned(),
        hint: error.hint,
    }
}

/// Some agents wait for ever where a variable is missing, so that nobody would learn why.
fn check_environment(
    settings: &Settings,
    variables: &Variables,
    request: &SessionRequest,
    agent: &Agent,
) -> Result<(), RuntimeError> {
    let is_set = |name: &str| {
        let configured = settings.agents.get(agent.name());
        let configured = configured.and_then(|agent| agent.env.get(name)).map(String::as_str);
        let given = request.env.get(name).map(String::as_str).or(configured);
        match given.or_else(|| variables.get(name)) {
            Some(value) => !value.is_empty(),
            None => std::env::var_os(name).is_some_and(|value| !value.is_empty()),
        }
    };
    match agent.required_env().iter().find(|name| !is_set(name)) {
        None => Ok(()),
        Some(name) => Err(RuntimeError::Unsupported {
            agent: agent.name().to_owned(),
            field: "env".to_owned(),
            hint: format!(
                "{name} is missing, and without it the agent waits for a login for ever; \
                 give it in `env`, or to the server with `promptd configure`"
            ),
        }),
    }
}

fn check_values(request: &SessionRequest) -> Result<(), RuntimeError> {
    let invalid = |field, value: String, hint: &str| {
        Err(RuntimeError::InvalidField {
            field,
            value,
            hint: hint.to_owned(),
        })
    };
    for (field, seconds) in [
        ("timeout", request.timeout),
        ("idle_timeout", request.idle_timeout),
        ("retry.delay", request.retry.as_ref().map(|retry| retry.delay)),
    ] {
        let allowed = if field == "retry.delay" {
            0.0..=LONGEST
        } else {
            0.001..=LONGEST
        };
        if let Some(seconds) = seconds.filter(|seconds| !allowed.contains(seconds)) {
            return invalid(field, seconds.to_string(), "use a positive number of seconds");
        }
    }
    for (name, value) in &request.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            // The value may be a secret; the name is enough to find it.
            return invalid(
                "env",
                format!("{name:?}"),
                "a name is not empty and has no '='; neither name nor value has a NUL",
            );
        }
        if name.starts_with("PROMPTD_") {
            return invalid(
                "env",
                format!("{name:?}"),
                "names that begin with PROMPTD_ are promptd's own",
            );
        }
    }
    if let Err(wrong) = McpServer::check_all(&request.mcp_servers) {
        return invalid("mcp_servers", format!("{:?}", wrong.name), &wrong.hint);
    }
    if let Some(arg) = request.args.iter().find(|arg| arg.contains('\0')) {
        return invalid("args", format!("{arg:?}"), "an argument cannot hold a NUL");
    }
    Ok(())
}

/// Relative to the workspace and inside it; absolute wherever there is such a folder.
fn working_directory(settings: &Settings, request: &SessionRequest) -> Result<PathBuf, RuntimeError> {
    let Some(cwd) = &request.cwd else {
        return Ok(settings.workspace.clone());
    };
    let path = Path::new(cwd);
    let invalid = |hint: &str| {
        Err(RuntimeError::InvalidField {
            field: "cwd",
            value: format!("{cwd:?}"),
            hint: hint.to_owned(),
        })
    };
    if cwd.contains('\0') {
        return invalid("a path cannot hold a NUL");
    }
    if path.is_absolute() {
        return if path.is_dir() {
            Ok(path.to_owned())
        } else {
            invalid("there is no such folder; make it, or use a path relative to the workspace")
        };
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return invalid("it leaves the workspace; use a path below it");
    }
    Ok(settings.workspace.join(path))
}

fn turn_request<'a>(
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
        mounted: &NOTHING_MOUNTED,
        model: request.model.as_deref(),
        system_prompt: request.system_prompt.as_deref(),
        max_turns: request.max_turns,
        allowed_tools: &request.allowed_tools,
        args: &request.args,
        root: nix::unistd::geteuid().is_root(),
    }
}

/// Writes the turn's files and says what to run.
pub(super) fn prepare(
    settings: &Settings,
    variables: &Variables,
    session: &Session,
    turn: &TurnState,
) -> Result<Launch, RuntimeError> {
    let request = session.request();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RuntimeError::Io { path, source }
    };
    let prompt = read_prompt(session, turn)?;
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
    let paths = TurnPaths::new(&session.folder, turn.turn);
    sys::replace(&paths.prompt(), prompt.as_bytes()).map_err(failed(&paths.prompt()))?;
    let state = session.state();
    let resume = state.agent_session_id();
    let fresh = new_conversation_id().map_err(failed(Path::new("/dev/urandom")))?;
    let id = resume.unwrap_or(&fresh);
    let prompt_file = paths.prompt();
    let configured = settings.agents.get(name).map(|configured| &configured.env);
    let places = Places {
        cwd,
        workspace: &settings.workspace,
        // In the order in which the agent will have them.
        variable: &|name| {
            let told = request.env.get(name).or_else(|| configured?.get(name));
            let told = told.map(String::as_str).or_else(|| variables.get(name));
            told.map(str::to_owned).or_else(|| std::env::var(name).ok())
        },
    };
    let of_files = if agent.capabilities().mcp {
        places.servers()?
    } else {
        BTreeMap::new()
    };
    let asked = TurnRequest {
        mcp_servers: &servers(settings, request, &agent, of_files),
        mounted: &places.find(),
        ..turn_request(
            request,
            cwd,
            &prompt_file,
            &session.folder,
            &prompt,
            Some(id),
            resume.is_none(),
        )
    };
    let launch = agent.launch(&asked).map_err(unsupported)?;
    refuse_open_folder(&agent, &launch, &session.folder)?;
    for name in &launch.folders {
        let path = session.folder.join(name);
        empty_folder(&path).map_err(failed(&path))?;
    }
    mounted::link(&launch.links, &session.folder)?;
    for (name, content) in &launch.files {
        let path = session.folder.join(name);
        sys::replace(&path, content.as_bytes()).map_err(failed(&path))?;
    }
    let stdin = match (request.stdin, launch.stdin) {
        (Some(StdinMode::Open), agents::Stdin::Null) | (_, agents::Stdin::Conversation) => Stdin::Open,
        (_, agents::Stdin::Prompt) => Stdin::Prompt,
        (_, agents::Stdin::Null) => Stdin::Null,
    };
    let mut env = vec![
        ("PATH".to_owned(), search_path(request).to_string_lossy().into_owned()),
        // A shell that changes its folder changes this, too; opencode works where it says.
        ("PWD".to_owned(), cwd.to_string_lossy().into_owned()),
    ];
    env.extend(launch.env);
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

/// A random UUID for an agent that takes its session's id from us.
fn new_conversation_id() -> std::io::Result<String> {
    Ok(uuid::Builder::from_random_bytes(sys::random()?).into_uuid().to_string())
}

/// The prompt, from where it was accepted: the journal.
pub(super) fn read_prompt(session: &Session, turn: &TurnState) -> Result<String, RuntimeError> {
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
pub(super) const INTERRUPT_GRACE: Duration = Duration::from_secs(10);
