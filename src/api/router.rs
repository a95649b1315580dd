//! Every route, in one table.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post, put};

use crate::api::admin::{configuration, info, metrics};
use crate::api::compat::{acp, bare, execute, sdk};
use crate::api::http::auth::ListenerKind;
use crate::api::http::middleware;
use crate::api::openapi;
use crate::api::sessions::{artifacts, permissions, resource, turns};
use crate::api::state::SharedState;
use crate::api::stream::{events, output, ws};

const HEALTH: &str = "/health";
const HEALTHZ: &str = "/healthz";

pub(crate) fn router(api: SharedState, listener: ListenerKind) -> Router {
    let state = Arc::clone(&api);
    Router::new()
        .route("/", get(bare::root))
        .route("/config", get(sdk::config::show).post(sdk::config::configure))
        .route("/execute", post(execute::execute))
        .route("/health", get(execute::health))
        .route("/healthz", get(info::healthz))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .route("/readyz", get(info::readyz))
        .route("/v1/acp", get(acp::route::acp))
        .route("/v1/agents", get(info::agents))
        .route("/v1/configuration", put(configuration::configure))
        .route("/v1/info", get(info::info))
        .route("/v1/sessions", get(resource::list).post(resource::create))
        .route("/v1/sessions/{id}", get(resource::show).delete(resource::delete))
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
        .route("/ws", get(sdk::ws::ws))
        .fallback(middleware::not_found)
        .method_not_allowed_fallback(middleware::method_not_allowed)
        .layer(from_fn(move |request, next| {
            middleware::handle(Arc::clone(&state), listener, request, next)
        }))
        .with_state(api)
}

/// What answers the connections beyond the bound: the server is alive, and has as many as it may have.
pub(crate) fn refusals(api: SharedState, connections: usize) -> Router {
    let state = Arc::clone(&api);
    Router::new()
        .route(HEALTH, get(execute::health))
        .route(HEALTHZ, get(info::healthz))
        .fallback(async move || middleware::too_many_connections(connections))
        .layer(from_fn(move |request, next| {
            middleware::refuse(Arc::clone(&state), request, next)
        }))
        .with_state(api)
}

#[cfg(test)]
mod tests {
    /// axum does not list its routes, so the test reads the table above.
    #[test]
    fn every_route_is_in_the_openapi_document_and_nothing_else() {
        let document: serde_json::Value = serde_json::from_str(&super::openapi::document()).unwrap();
        let mut documented: Vec<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let table = include_str!("router.rs").split("#[cfg(test)]").next().unwrap();
        let mut routes: Vec<&str> = table
            .split(".route(")
            .skip(1)
            .filter_map(|rest| rest.split('"').nth(1))
            .collect();
        documented.sort_unstable();
        routes.sort_unstable();
        assert_eq!(documented, routes);
    }
}
