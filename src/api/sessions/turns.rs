//! Calls for a session's turns: prompt, interrupt, stop, input.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use crate::api::http::body;
use crate::api::http::json::{Json, OptionalJson};
use crate::api::http::path::{KnownIdPath, SessionPath};
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::sessions::accepted::{Accepted, idempotency_key};
use crate::api::state::SharedState;
use crate::runtime::NewPrompt;
use promptd_model::{PermissionMode, PromptContent, TurnOptions, View, When};

/// The next turn's prompt.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptRequest {
    /// The prompt: a text, or content blocks.
    prompt: PromptContent,
    /// The agent begins a new conversation, and knows nothing of the turns before: for a session whose turns fail with
    /// `conversation_lost`. False when absent.
    #[serde(default)]
    fresh: bool,
    /// `now` sends it to the agent that works. `next`, when absent: as the next turn.
    #[serde(default)]
    when: When,
    /// The model for this turn; the session's when absent.
    #[serde(default)]
    model: Option<String>,
    /// What the agent may do without asking in this turn; as in the session when absent.
    #[serde(default)]
    permission: Option<PermissionMode>,
    /// Maximum model requests in this turn; the session's when absent.
    #[serde(default)]
    max_turns: Option<u32>,
}

impl From<PromptRequest> for NewPrompt {
    fn from(request: PromptRequest) -> Self {
        Self {
            fresh: request.fresh,
            when: request.when,
            options: TurnOptions {
                model: request.model,
                permission: request.permission,
                max_turns: request.max_turns,
            },
            ..Self::from(request.prompt)
        }
    }
}

/// The turn that a prompt began, or will begin when those before it are over.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct PromptAnswer {
    /// Its number.
    pub(crate) turn: u32,
}

/// Begins the next turn, which waits where one runs; or, with `"when": "now"`, sends a message into the turn that runs.
#[utoipa::path(post, path = "/v1/sessions/{id}/prompts", tag = "sessions", request_body = PromptRequest,
    params(
        ("view" = Option<View>, Query, description = "The vocabulary of an event stream; `raw` when absent"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key returns the same turn"),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` or `application/x-ndjson`: the answer is the event stream of the turn"),
    ),
    responses(
        (status = 202, description = "Accepted", content((PromptAnswer = "application/json"), (String = "text/event-stream"), (String = "application/x-ndjson"))),
        (status = 200, description = "The same request had been made before", body = PromptAnswer),
        (status = 400, description = "`invalid_field`: `field` is the wrong member, such as `prompt[1].data`"),
        (status = 422, description = "`unsupported`: the agent takes no images and files in a prompt; `agents` lists those that do. Or it takes no message while it works, or cannot do what `field` asks for, such as `model`"),
        (status = 409, description = "`idempotency_conflict`; `not_running`: there is no turn that could take it now"),
        (status = 429, description = "`queue_full`, `rate_limited`; see `Retry-After`"),
    ))]
pub(crate) async fn prompt(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
    headers: HeaderMap,
    Json(request): Json<PromptRequest>,
) -> Result<Response, Problem> {
    let view = query.only(&["view"])?.view()?;
    let prompted = api.prompt(&session, request, idempotency_key(&headers)?).await?;
    let turn = prompted.turn;
    let accepted = Accepted {
        session: &session,
        turn: Some(turn),
        after: prompted.after,
        status: if prompted.new {
            StatusCode::ACCEPTED
        } else {
            StatusCode::OK
        },
    };
    accepted.respond(&api, &headers, view, || {
        axum::Json(PromptAnswer { turn }).into_response()
    })
}

/// Asks the agent to stop this turn; the session stays.
#[utoipa::path(post, path = "/v1/sessions/{id}/interrupt", tag = "sessions",
    responses(
        (status = 202, description = "Asked"),
        (status = 409, description = "`not_running`"),
    ))]
pub(crate) async fn interrupt(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
) -> Result<StatusCode, Problem> {
    query.only(&[])?;
    api.interrupt(&session, BTreeSet::new()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// How to stop.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopRequest {
    /// Seconds between asking the agent to end and killing it; 5 when absent.
    #[serde(default)]
    grace: Option<f64>,
}

/// What is left after a stop.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct StopAnswer {
    /// Processes that could not be ended.
    pub(crate) survivors: u32,
}

/// Ends the turn and its whole process tree.
#[utoipa::path(post, path = "/v1/sessions/{id}/stop", tag = "sessions", request_body(content = Option<StopRequest>),
    responses(
        (status = 200, description = "Gone", body = StopAnswer),
    ))]
pub(crate) async fn stop(
    State(api): State<SharedState>,
    KnownIdPath(id): KnownIdPath,
    query: Query,
    OptionalJson(request): OptionalJson<StopRequest>,
) -> Result<axum::Json<StopAnswer>, Problem> {
    query.only(&[])?;
    let survivors = api.stop_by_id(id, request.grace).await?;
    Ok(axum::Json(StopAnswer { survivors }))
}

/// Writes raw bytes to the agent's standard input.
#[utoipa::path(post, path = "/v1/sessions/{id}/input", tag = "sessions",
    request_body(content = String, content_type = "application/octet-stream", description = "The bytes, as they are"),
    params(
        ("close" = Option<bool>, Query, description = "Close standard input behind them"),
    ),
    responses(
        (status = 204, description = "Written"),
        (status = 409, description = "`not_running`, `stdin_closed`"),
    ))]
pub(crate) async fn input(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
    request: Request,
) -> Result<StatusCode, Problem> {
    let close = query.only(&["close"])?.flag("close", false)?;
    let bytes = body::read(request, api.body_limit(), &api.body_memory).await?.freeze();
    api.input(&session, bytes, close).await?;
    Ok(StatusCode::NO_CONTENT)
}
