//! The wire: HTTP, SSE, NDJSON and WebSocket over one cursor in the journal.
//!
//! Owns routes, bodies, headers, authentication and the mapping of errors (`problem`, the one place). Promises
//! that a reader who stalls costs a socket and a block, that what a caller began runs to its end whether or not
//! the caller stays, and that every mistake is answered with what would be right. May not keep state of
//! sessions, nor touch files other than the token's and its own sockets.
//!
//! `http` is what all requests share; `sessions`, `stream`, `admin` and `compat` are the routes, by subject.

mod admin;
mod compat;
mod http;
mod openapi;
mod server;
mod sessions;
mod stream;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post, put};
use tokio::sync::watch;

use admin::{configuration, info, metrics};
use compat::{acp, bare, execute, sdk};
use http::auth::Door;
use http::middleware as gate;
use http::problem::Problem;
use http::rate::Rate;
use sessions::{artifacts, lifecycle, permissions, turns};
use stream::{events, output, ws};

pub use openapi::document as openapi_document;
pub use server::{CONTROL_SOCKET, Doors, ServeError, Server, serve};

use crate::runtime::{Runtime, RuntimeError};

/// What all handlers share.
#[derive(Debug)]
struct Api {
    runtime: Arc<Runtime>,
    rate: Rate,
    lookers: artifacts::Lookers,
    /// Held while it is decided which session the clients of `/ws` share.
    sharing: tokio::sync::Mutex<()>,
    /// Every open WebSocket holds a receiver, so that a shutdown can wait for them.
    sockets: watch::Sender<()>,
}

type Shared = Arc<Api>;

impl Api {
    fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            runtime,
            rate: Rate::default(),
            lookers: artifacts::Lookers::default(),
            sharing: tokio::sync::Mutex::default(),
            sockets: watch::Sender::new(()),
        }
    }

    /// The most bytes of a body or a WebSocket message.
    fn body_limit(&self) -> usize {
        self.runtime.settings().limits.body_bytes
    }

    /// Counts a session or prompt against the rate limits.
    fn count(&self) -> Result<(), Problem> {
        self.rate.take(&self.runtime.settings().limits, Instant::now())
    }
}

/// Runs to the end, also when the caller hangs up in the middle.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(Problem::internal(&panic)),
    }
}

/// Every path that has a route.
#[cfg(test)]
const ROUTES: [&str; 25] = [
    "/",
    "/config",
    "/execute",
    "/health",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/v1/acp",
    "/v1/agents",
    "/v1/configuration",
    "/v1/info",
    "/v1/sessions",
    "/v1/sessions/{id}",
    "/v1/sessions/{id}/artifacts",
    "/v1/sessions/{id}/events",
    "/v1/sessions/{id}/input",
    "/v1/sessions/{id}/interrupt",
    "/v1/sessions/{id}/output",
    "/v1/sessions/{id}/permissions",
    "/v1/sessions/{id}/permissions/{permission}",
    "/v1/sessions/{id}/prompts",
    "/v1/sessions/{id}/stop",
    "/v1/sessions/{id}/ws",
    "/ws",
];

fn router(api: Shared, door: Door) -> Router {
    let gated = Arc::clone(&api);
    Router::new()
        .route("/", get(bare::root))
        .route("/config", get(sdk::config::show).post(sdk::config::configure))
        .route("/execute", post(execute::execute))
        .route("/health", get(execute::health))
        .route("/healthz", get(info::healthz))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .route("/readyz", get(info::readyz))
        .route("/v1/acp", get(acp::acp))
        .route("/v1/agents", get(info::agents))
        .route(configuration::PATH, put(configuration::configure))
        .route("/v1/info", get(info::info))
        .route("/v1/sessions", get(lifecycle::list).post(lifecycle::create))
        .route("/v1/sessions/{id}", get(lifecycle::show).delete(lifecycle::delete))
        .route("/v1/sessions/{id}/artifacts", get(artifacts::artifacts))
        .route("/v1/sessions/{id}/events", get(events::events))
        .route("/v1/sessions/{id}/input", post(turns::input))
        .route("/v1/sessions/{id}/interrupt", post(turns::interrupt))
        .route("/v1/sessions/{id}/output", get(output::output))
        .route("/v1/sessions/{id}/permissions", get(permissions::list))
        .route("/v1/sessions/{id}/permissions/{permission}", post(permissions::answer))
        .route("/v1/sessions/{id}/prompts", post(turns::prompt))
        .route("/v1/sessions/{id}/stop", post(turns::stop))
        .route("/v1/sessions/{id}/ws", get(ws::session))
        .route("/ws", get(sdk::connection::ws))
        .fallback(gate::not_found)
        .method_not_allowed_fallback(gate::method_not_allowed)
        .layer(middleware::from_fn(move |request, next| {
            gate::gate(Arc::clone(&gated), door, request, next)
        }))
        .with_state(api)
}
