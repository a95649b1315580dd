//! `POST /config` and `GET /config`: the configuration of the shared session.

use axum::extract::{Request, State};
use serde::Serialize;

use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::http::{body, json};
use crate::api::operations::complete;
use crate::api::state::{AppState, SharedState};
use promptd_model::{InvalidSubagent, SdkConfig};

/// What `POST /config` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SdkConfigured)]
pub(crate) struct Configured {
    /// Always true; refusals are `{"error"}`.
    success: bool,
    /// What is in force, without secrets.
    #[schema(value_type = SdkConfig)]
    config: serde_json::Value,
}

/// What `GET /config` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct InForce {
    /// What is in force, without secrets.
    #[schema(value_type = SdkConfig)]
    config: serde_json::Value,
}

/// A refusal, as clients of this pattern know it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConfigError)]
pub(crate) struct Refused {
    /// What was wrong and what would be right.
    error: String,
}

/// Configures the session that clients of `/ws` share; kept in the home. Another configuration than before begins a new
/// conversation with the next message. Fields that are not known are neither used nor kept.
#[utoipa::path(post, path = "/config", tag = "elsewhere", request_body = SdkConfig,
    responses(
        (status = 200, description = "In force", body = Configured),
        (status = "default", description = "Refused", body = Refused),
    ))]
pub(crate) async fn configure(
    State(api): State<SharedState>,
    query: Query,
    request: Request,
) -> Result<axum::Json<Configured>, Problem> {
    query.only(&[])?;
    let body = body::read(request, api.body_limit(), &api.body_memory).await?;
    let config: SdkConfig = json::parse(&body)?;
    let wrong =
        |wrong: InvalidSubagent| Problem::bad_request("invalid_field", wrong.to_string()).with("field", "agents");
    config.check().map_err(wrong)?;
    // No session of the old configuration is created meanwhile.
    let _locked = api.sdk_session_lock.lock().await;
    let runtime = std::sync::Arc::clone(&api.runtime);
    complete(async move { runtime.configure_sdk(config).await }).await?;
    Ok(axum::Json(Configured {
        success: true,
        config: in_force(&api),
    }))
}

/// What is configured, without any secret.
#[utoipa::path(get, path = "/config", tag = "elsewhere",
    responses(
        (status = 200, description = "In force", body = InForce),
        (status = "default", description = "Refused", body = Refused),
    ))]
pub(crate) async fn show(State(api): State<SharedState>, query: Query) -> Result<axum::Json<InForce>, Problem> {
    query.only(&[])?;
    Ok(axum::Json(InForce { config: in_force(&api) }))
}

fn in_force(api: &AppState) -> serde_json::Value {
    // It came as JSON and is one again.
    let mut config = serde_json::to_value(api.runtime.sdk.get().config.without_secrets()).unwrap_or_default();
    if let Some(masker) = api.runtime.masks.of_server() {
        masker.json_value(&mut config);
    }
    config
}
