//! What the server tells of itself: alive, ready, which agents, which settings. Never a secret.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::state::SharedState;
use crate::runtime::{AgentInfo, Listen, Sandbox};
use promptd_agents::{Capabilities, Evidence};
use promptd_model::{Limits, PermissionMode, SinkKind};
use promptd_sinks::Sink;

/// Alive.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Alive {
    /// `ok`.
    status: &'static str,
}

/// Alive. Needs no token and tells nothing else.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "Alive", body = Alive)))]
pub(crate) async fn healthz() -> axum::Json<Alive> {
    axum::Json(Alive { status: "ok" })
}

/// Able to take work, or why not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Readiness {
    /// No problems.
    ready: bool,
    /// What keeps the server from taking work, and what to do.
    problems: Vec<String>,
}

/// Able to take work: workspace and home writable, disk not full, agents found.
#[utoipa::path(get, path = "/readyz", tag = "server", responses(
    (status = 200, description = "Ready", body = Readiness),
    (status = 503, description = "Not ready", body = Readiness),
))]
pub(crate) async fn readyz(State(api): State<SharedState>) -> (StatusCode, axum::Json<Readiness>) {
    let problems = api.runtime.problems().await;
    let ready = problems.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(Readiness { ready, problems }))
}

/// The server, without secrets.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Info {
    /// The version of promptd.
    version: &'static str,
    /// Changes when the sandbox was resumed, cloned or rebooted.
    epoch: String,
    /// Which sandbox this is; null where it is none, or nobody knows.
    sandbox: Option<SandboxView>,
    /// Seconds since the server was started.
    uptime: f64,
    /// The limits in force.
    limits: LimitsView,
    /// The configuration in force.
    configuration: Configuration,
}

/// A sandbox of the platform.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Sandbox)]
struct SandboxView {
    /// The platform's id.
    id: String,
    /// Who says so: `mmds` (the hypervisor), `events` (the platform's events host), `host` (a request's `Host`) or `file`.
    source: &'static str,
}

impl From<Sandbox> for SandboxView {
    fn from(sandbox: Sandbox) -> Self {
        Self {
            id: sandbox.id,
            source: sandbox.source.name(),
        }
    }
}

/// The limits in force; null means none.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Limits)]
struct LimitsView {
    running: usize,
    queued: usize,
    body_bytes: usize,
    session_bytes: u64,
    total_bytes: u64,
    keep_days: u32,
    min_free_bytes: u64,
    /// Connections of callers at the same time: what the configuration and the limit of open files allow.
    connections: usize,
    rate_per_minute: Option<u32>,
    rate_per_hour: Option<u32>,
}

impl LimitsView {
    fn of(limits: &Limits, connections: usize) -> Self {
        Self {
            running: limits.running,
            queued: limits.queued,
            body_bytes: limits.body_bytes,
            session_bytes: limits.session_bytes,
            total_bytes: limits.total_bytes,
            keep_days: limits.keep_days,
            min_free_bytes: limits.min_free_bytes,
            connections,
            rate_per_minute: limits.rate_per_minute,
            rate_per_hour: limits.rate_per_hour,
        }
    }
}

/// The configuration in force.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Configuration {
    /// Addresses, as configured.
    listen: Vec<String>,
    home: String,
    workspace: String,
    /// `token`, `e2b` or `none`.
    auth: &'static str,
    /// A token is set.
    token_set: bool,
    /// The variables that agents get beyond the server's own environment, by name.
    environment: Vec<String>,
    default_agent: String,
    /// Seconds; null means none.
    default_timeout: Option<f64>,
    default_idle_timeout: Option<f64>,
    default_permission: PermissionMode,
    /// Seconds that a shutdown may take.
    grace: f64,
    /// Agents from the configuration file, by name.
    agents: Vec<String>,
    /// Sinks of all sessions.
    sinks: Vec<ConfiguredSink>,
}

/// A sink of all sessions, without its keys.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ConfiguredSink {
    name: String,
    kind: SinkKind,
    /// Scheme, host and port of the backend.
    destination: String,
}

/// Version, epoch, limits and configuration.
#[utoipa::path(get, path = "/v1/info", tag = "server", responses(
    (status = 200, description = "The server", body = Info),
))]
pub(crate) async fn info(State(api): State<SharedState>, query: Query) -> Result<axum::Json<Info>, Problem> {
    query.only(&[])?;
    let settings = api.runtime.settings();
    let configured = api.runtime.access.configured();
    let sandbox = api.runtime.machine.sandbox().await.map(SandboxView::from);
    Ok(axum::Json(Info {
        sandbox,
        version: env!("CARGO_PKG_VERSION"),
        epoch: api.runtime.machine.epoch(),
        uptime: api.runtime.uptime().as_secs_f64(),
        limits: LimitsView::of(&settings.limits, api.runtime.open_files().callers),
        configuration: Configuration {
            listen: settings.listen.iter().map(listen_text).collect(),
            home: settings.home.display().to_string(),
            workspace: settings.workspace.display().to_string(),
            auth: settings.auth.name(),
            token_set: configured.tokens > 0,
            environment: configured.environment,
            default_agent: settings.default_agent.clone(),
            default_timeout: settings.default_timeout.map(|timeout| timeout.as_secs_f64()),
            default_idle_timeout: settings.default_idle_timeout.map(|timeout| timeout.as_secs_f64()),
            default_permission: settings.default_permission,
            grace: settings.grace.as_secs_f64(),
            agents: settings.agents.keys().cloned().collect(),
            sinks: api.runtime.global_sinks().iter().map(ConfiguredSink::of).collect(),
        },
    }))
}

impl ConfiguredSink {
    fn of(sink: &Sink) -> Self {
        Self {
            name: sink.name().to_owned(),
            kind: sink.kind(),
            destination: sink.destination(),
        }
    }
}

fn listen_text(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// The known agents.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Agents {
    agents: Vec<AgentView>,
}

/// An agent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Agent)]
struct AgentView {
    name: String,
    /// Its program is on this machine.
    installed: bool,
    /// Its program.
    path: Option<String>,
    /// From the configuration file.
    configured: bool,
    /// What it says of its version.
    version: Option<String>,
    /// `tested`: promptd's tests run its real program. Null for an agent
    /// from the configuration.
    evidence: Option<Evidence>,
    capabilities: Capabilities,
    /// The command that installs it.
    install: Option<String>,
    /// What is missing, in a sentence.
    missing: Option<String>,
}

impl From<(AgentInfo, Option<String>)> for AgentView {
    fn from((agent, version): (AgentInfo, Option<String>)) -> Self {
        Self {
            name: agent.name,
            installed: agent.path.is_some(),
            path: agent.path.map(|path| path.display().to_string()),
            configured: agent.configured,
            version,
            evidence: agent.evidence,
            capabilities: agent.capabilities,
            install: agent.install,
            missing: agent.missing,
        }
    }
}

/// Every known agent: installed or not, and what it can do.
#[utoipa::path(get, path = "/v1/agents", tag = "server", responses(
    (status = 200, description = "The agents", body = Agents),
))]
pub(crate) async fn agents(State(api): State<SharedState>, query: Query) -> Result<axum::Json<Agents>, Problem> {
    query.only(&[])?;
    let agents = api.runtime.agents_with_versions().await;
    let agents = agents.into_iter().map(AgentView::from).collect();
    Ok(axum::Json(Agents { agents }))
}
