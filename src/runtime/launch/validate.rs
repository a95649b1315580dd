//! Checks of a request before it is accepted: what can be refused is refused now, not when its turn starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::runtime::access::variables::Variables;
use crate::runtime::delivery::sinks;
use crate::runtime::error::RuntimeError;
use crate::runtime::launch::catalog::{find_agent, list, names_with};
use crate::runtime::launch::environment::environment;
use crate::runtime::launch::inputs::{agent_home, mcp_servers, turn_request};
use crate::runtime::launch::paths::working_directory;
use crate::runtime::launch::program::find_program;
use crate::runtime::launch::refusals::{refuse_open_folder, unsupported};
use crate::runtime::launch::{setup, size};
use crate::runtime::settings::Settings;
use promptd_agents::{self as agents, Capabilities, TurnRequest};
use promptd_model::{McpServer, PermissionMode, PromptContent, SessionRequest, StdinMode, nearest};

/// The longest timeout: a hundred years, in seconds.
const MAX_SECONDS: f64 = 3.2e9;

/// Checks a request with its first prompt; answers the agent, after defaults, and the working directory. `own_folder` is
/// the session's own, if it wants one.
pub(crate) fn check(
    settings: &Settings,
    variables: &Variables,
    request: &SessionRequest,
    own_folder: &Path,
    prompt: &PromptContent,
) -> Result<(String, PathBuf), RuntimeError> {
    let name = request.agent.clone().unwrap_or_else(|| settings.default_agent.clone());
    let Some(agent) = find_agent(settings, &name) else {
        let known: Vec<String> = list(settings).into_iter().map(|agent| agent.name).collect();
        let nearest = nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(RuntimeError::AgentNotFound {
            agent: name,
            nearest,
            known,
        });
    };
    check_values(request)?;
    sinks::requested(&request.sinks)?;
    let home = agent_home(settings, variables, request, &name);
    let base = working_directory(settings, request, own_folder, home.as_deref())?;
    let cwd = setup::check(request, variables, base)?;
    if find_program(&agent, request, &cwd).is_none() {
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
    let (text, blocks) = (prompt.text(), prompt.blocks());
    if blocks.iter().any(|block| block.file().is_some()) && !agent.capabilities().images {
        let able = names_with(settings, |able| able.images);
        return Err(RuntimeError::TextOnly { agent: name, able });
    }
    prompt.check()?;
    // A trial: what the agent cannot do is refused now, not when its turn starts.
    let folder = Path::new("/");
    let trial = TurnRequest {
        mcp_servers: &mcp_servers(settings, request, &agent, BTreeMap::new(), home.as_deref()),
        ..turn_request(request, &cwd, folder, folder, (&text, blocks), None, true)
    };
    let launch = agent.launch(&trial).map_err(|error| {
        let is_able = |able: Capabilities| able.supports(error.field);
        // An agent that can, and yet refuses, has another reason.
        let able = if is_able(agent.capabilities()) {
            Vec::new()
        } else {
            names_with(settings, is_able)
        };
        match unsupported(error) {
            RuntimeError::Unsupported { agent, field, hint, .. } => RuntimeError::Unsupported {
                agent,
                field,
                hint,
                able,
            },
            other => other,
        }
    })?;
    refuse_open_folder(&agent, &launch, &settings.home)?;
    let env = environment(settings, variables, request, &name, &cwd, launch.env);
    size::check(request, &launch.args, &env)?;
    if launch.stdin == agents::Stdin::Dialog && request.stdin == Some(StdinMode::Open) {
        return Err(RuntimeError::Unsupported {
            agent: name,
            field: "stdin".to_owned(),
            hint: "promptd itself talks with this agent; leave it out, and send prompts and answers".to_owned(),
            able: Vec::new(),
        });
    }
    Ok((name, cwd))
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
            0.0..=MAX_SECONDS
        } else {
            0.001..=MAX_SECONDS
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
