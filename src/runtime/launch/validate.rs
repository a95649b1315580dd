//! What a request has to be before it is accepted: what can be refused is refused now, not when its turn comes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::runtime::access::environment::Variables;
use crate::runtime::delivery;
use crate::runtime::launch::prepare::{agent, list, servers, turn_request};
use crate::runtime::launch::program::program;
use crate::runtime::launch::setup;
use crate::runtime::{RuntimeError, Settings};
use promptd_agents::{self as agents, Agent, TurnRequest, Unsupported};
use promptd_model::{McpServer, PermissionMode, SessionRequest, StdinMode, nearest};

/// The longest timeout that means one: a hundred years, in seconds.
const LONGEST: f64 = 3.2e9;

/// The default where a request names no agent; then the checks that need no disk.
pub(crate) fn check(
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
    let dry_run = TurnRequest {
        mcp_servers: &servers(settings, request, &agent, BTreeMap::new()),
        ..turn_request(request, &cwd, folder, folder, prompt, None, true)
    };
    let launch = agent.launch(&dry_run).map_err(unsupported)?;
    refuse_open_folder(&agent, &launch, &settings.home)?;
    if launch.stdin == agents::Stdin::Dialog && request.stdin == Some(StdinMode::Open) {
        return Err(RuntimeError::Unsupported {
            agent: name,
            field: "stdin".to_owned(),
            hint: "promptd itself talks with this agent; leave it out, and send prompts and answers".to_owned(),
        });
    }
    Ok((name, cwd))
}

/// Some agents do not trust a file below a folder that others may write to, and go on without it.
pub(crate) fn refuse_open_folder(agent: &Agent, launch: &agents::Launch, folder: &Path) -> Result<(), RuntimeError> {
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

/// Some agents begin anew under the same id when they do not find what they kept of a session, and say nothing.
pub(crate) fn refuse_lost_session(
    agent: &Agent,
    launch: &agents::Launch,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), RuntimeError> {
    let kept = launch.session_file.as_ref();
    let Some((kept, home)) = kept.and_then(|kept| Some((kept, kept.home.iter().find_map(|name| variable(name))?)))
    else {
        return Ok(());
    };
    let folder = Path::new(&home).join(kept.folder);
    let mut folders = fs::read_dir(&folder).into_iter().flatten().flatten();
    if folders.any(|folder| folder.path().join(&kept.file).exists()) {
        return Ok(());
    }
    Err(RuntimeError::SessionLost {
        agent: agent.name().to_owned(),
        path: folder.join("*").join(&kept.file),
    })
}

pub(crate) fn unsupported(error: Unsupported) -> RuntimeError {
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
