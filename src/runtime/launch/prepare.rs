//! Writing a turn's files, and what to run for it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::runtime::error::RuntimeError;
use crate::runtime::launch::catalog::find_agent;
use crate::runtime::launch::environment::environment;
use crate::runtime::launch::inputs::{Sources, TurnInputs};
use crate::runtime::launch::program::find_program;
use crate::runtime::launch::refusals::{refuse_lost_session, refuse_open_folder, unsupported};
use crate::runtime::launch::scratch::empty_folder;
use crate::runtime::launch::setup;
use promptd_agents::{self as agents, Link};
use promptd_keeper::{Launch, Stdin};
use promptd_model::{StdinMode, Stdout, TurnState};
use promptd_sys as sys;

/// Writes the turn's files and says what to run.
pub(crate) fn prepare(from: &Sources<'_>, turn: &TurnState) -> Result<(Launch, TurnInputs), RuntimeError> {
    let Sources {
        settings,
        variables,
        links,
        session,
    } = *from;
    let request = session.request();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RuntimeError::Io { path, source }
    };
    let (name, cwd) = (session.agent(), session.cwd());
    let setup = setup::preparation(session);
    // Git makes the folder of a repository, or reports why it cannot.
    let folder = setup.as_ref().map_or(cwd, |setup| setup.base.as_path());
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let agent = find_agent(settings, name).ok_or_else(|| RuntimeError::AgentNotFound {
        agent: name.to_owned(),
        nearest: None,
        known: Vec::new(),
    })?;
    let program = find_program(&agent, request, cwd).ok_or_else(|| RuntimeError::AgentNotInstalled {
        agent: name.to_owned(),
        program: agent.programs().join(" or "),
        install: agent.install().map(str::to_owned),
        installed: Vec::new(),
    })?;
    let inputs = TurnInputs::read(from, &agent, turn)?;
    sys::replace_file(&inputs.prompt_file, inputs.prompt.text.as_bytes()).map_err(failed(&inputs.prompt_file))?;
    let new_id = new_agent_session_id().map_err(failed(Path::new("/dev/urandom")))?;
    let asked = inputs.request(session, Some(&new_id));
    let launch = agent.launch(&asked).map_err(unsupported)?;
    refuse_open_folder(&agent, &launch, &session.folder)?;
    refuse_lost_session(&agent, &launch, |name| from.variable(name))?;
    for name in &launch.folders {
        let path = session.folder.join(name);
        empty_folder(&path).map_err(failed(&path))?;
    }
    let (own, in_homes): (Vec<_>, Vec<_>) = launch
        .links
        .iter()
        .partition(|link| link.at.starts_with(&session.folder));
    link_own(&own)?;
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
    let env = environment(settings, variables, request, name, cwd, launch.env);
    let mut args: Vec<String> = program.script.into_iter().collect();
    args.extend(launch.args);
    let launch = Launch {
        program: program.run,
        args,
        env,
        cwd: cwd.to_owned(),
        stdin,
        stdout_pipe: agent.stdout() == Stdout::Pipe || session.state().stdout == Stdout::Pipe,
        setup,
    };
    Ok((launch, inputs))
}

/// A random UUID for an agent that takes its session's id from us.
fn new_agent_session_id() -> io::Result<String> {
    Ok(uuid::Builder::from_random_bytes(sys::random_bytes()?)
        .into_uuid()
        .to_string())
}

/// Makes links in the session's own folder, anew for every turn.
fn link_own(links: &[&Link]) -> Result<(), RuntimeError> {
    for Link { at, to } in links {
        let failed = |source| RuntimeError::Io {
            path: at.clone(),
            source,
        };
        remove_if_there(at).map_err(failed)?;
        if let Some(folder) = at.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        std::os::unix::fs::symlink(to, at).map_err(failed)?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
