//! From a request to a program with arguments: checks before it is accepted, files before it is started.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::environment::Variables;
use super::session::Session;
use super::{AgentInfo, PromptBy, RuntimeError, Settings, delivery, setup};
use crate::agents::{self, Agent, Custom, Driver, TurnRequest, Unsupported};
use crate::journal::{Reader, decode};
use crate::keeper::{Launch, Stdin, TurnPaths};
use crate::model::{Body, PermissionMode, SessionRequest, StdinMode, TurnState, nearest};
use crate::sys;

/// Folders where installers put agents, for a server whose own PATH lacks them.
const MORE_PATH: [&str; 5] = [
    "/usr/local/bin",
    "~/.local/bin",
    "~/.npm-global/bin",
    "/usr/bin",
    "/bin",
];

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
    let path = program(&agent, &SessionRequest::default(), &settings.workspace);
    let missing = path
        .is_none()
        .then(|| format!("no {} on PATH", agent.programs().join(" or ")));
    let capabilities = agent.capabilities();
    Some(AgentInfo {
        configured: matches!(agent, Agent::Custom(_)),
        install: agent.install().map(str::to_owned),
        name,
        path,
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
    // A dry run: what the agent cannot do is refused now, not when its turn comes.
    let folder = Path::new("/");
    let launch = agent
        .launch(&turn_request(request, &cwd, folder, folder, prompt, None, true))
        .map_err(unsupported)?;
    if launch.stdin == agents::Stdin::Conversation && request.stdin == Some(StdinMode::Open) {
        return Err(RuntimeError::Unsupported {
            agent: name,
            field: "stdin".to_owned(),
            hint: "promptd itself talks with this agent; leave it out, and send prompts and answers".to_owned(),
        });
    }
    Ok((name, cwd))
}

fn unsupported(error: Unsupported) -> RuntimeError {
    RuntimeError::Unsupported {
        agent: error.agent,
        field: error.field.to_owned(),
        hint: error.hint,
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
        ("permission_timeout", request.permission_timeout),
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
    let asks = request.permission == Some(PermissionMode::Ask);
    let only_for_ask = "it is for sessions with \"permission\":\"ask\"; leave it out, or have the agent ask";
    if let Some(timeout) = request.permission_timeout.filter(|_| !asks) {
        return invalid("permission_timeout", timeout.to_string(), only_for_ask);
    }
    if let Some(default) = request.permission_default.filter(|_| !asks) {
        let value = serde_json::to_string(&default).unwrap_or_default();
        return invalid("permission_default", value, only_for_ask);
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
        model: request.model.as_deref(),
        system_prompt: request.system_prompt.as_deref(),
        max_turns: request.max_turns,
        allowed_tools: &request.allowed_tools,
        args: &request.args,
        root: nix::unistd::geteuid().is_root(),
    }
}

/// Where programs are looked for: the session's PATH, else ours, and the folders that installers use.
pub(super) fn search_path(request: &SessionRequest) -> OsString {
    let given = request
        .env
        .get("PATH")
        .map(OsString::from)
        .or_else(|| std::env::var_os("PATH"))
        .unwrap_or_default();
    let home = request
        .env
        .get("HOME")
        .map(OsString::from)
        .or_else(|| std::env::var_os("HOME"));
    let mut folders: Vec<PathBuf> = std::env::split_paths(&given)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    for more in MORE_PATH {
        let folder = match (more.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            (Some(_), None) => continue,
            (None, _) => PathBuf::from(more),
        };
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    std::env::join_paths(folders).unwrap_or(given)
}

/// The program to run: the first of the agent's names that is found, or the native binary behind it.
fn program(agent: &Agent, request: &SessionRequest, cwd: &Path) -> Option<PathBuf> {
    let path = search_path(request);
    let found = agent
        .programs()
        .into_iter()
        .find_map(|name| which::which_in(name, Some(&path), cwd).ok())?;
    let Agent::Known(known) = agent else { return Some(found) };
    // Behind all links: a launcher finds its package by where it really lies.
    let native = fs::canonicalize(&found)
        .map(|real| (known.native)(&real))
        .unwrap_or_default();
    Some(native.into_iter().find(|path| is_executable(path)).unwrap_or(found))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Writes the turn's files and says what to run.
pub(super) fn prepare(settings: &Settings, session: &Session, turn: &TurnState) -> Result<Launch, RuntimeError> {
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
    let launch = agent
        .launch(&turn_request(
            request,
            cwd,
            &prompt_file,
            &session.folder,
            &prompt,
            Some(id),
            resume.is_none(),
        ))
        .map_err(unsupported)?;
    for (name, content) in &launch.files {
        let path = session.folder.join(name);
        sys::replace(&path, content.as_bytes()).map_err(failed(&path))?;
    }
    let stdin = match (request.stdin, launch.stdin) {
        (Some(StdinMode::Open), agents::Stdin::Null) | (_, agents::Stdin::Conversation) => Stdin::Open,
        (_, agents::Stdin::Prompt) => Stdin::Prompt,
        (_, agents::Stdin::Null) => Stdin::Null,
    };
    let mut env = vec![("PATH".to_owned(), search_path(request).to_string_lossy().into_owned())];
    env.extend(launch.env);
    if let Some(configured) = settings.agents.get(name) {
        env.extend(configured.env.clone());
    }
    // The caller's own words come last and win, but for PATH, which contains them.
    env.extend(request.env.clone().into_iter().filter(|(name, _)| name != "PATH"));
    Ok(Launch {
        program,
        args: launch.args,
        env,
        cwd: cwd.to_owned(),
        stdin,
        setup,
    })
}

/// Whether we talk with the session's agent: then its standard input is ours.
pub(super) fn converses(agent: &Agent, session: &Session) -> bool {
    let nowhere = Path::new("/");
    let request = turn_request(session.request(), nowhere, nowhere, nowhere, "", None, true);
    agent.driver(&request).is_some()
}

/// What talks with the agent in one attempt of a turn. The same every time, so that it can be fed from the journal: an
/// id for a new conversation, which is drawn at random, is none of its business.
pub(super) fn driver(
    agent: &Agent,
    session: &Session,
    turn: &TurnState,
) -> Result<Option<Box<dyn Driver>>, RuntimeError> {
    let prompt = read_prompt(session, turn)?;
    let state = session.state();
    let resume = state.agent_session_id();
    let prompt_file = TurnPaths::new(&session.folder, turn.turn).prompt();
    Ok(agent.driver(&turn_request(
        session.request(),
        session.cwd(),
        &prompt_file,
        &session.folder,
        &prompt,
        resume,
        resume.is_none(),
    )))
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
