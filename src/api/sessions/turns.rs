//! What can be done to a session's turns: prompt, interrupt, stop, input.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::api::http::json::{self, Json, OptionalJson};
use crate::api::http::negotiate::{Form, form};
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::ProblemDetails;
use crate::api::sessions::lifecycle::{idempotency_key, naming, turn_part};
use crate::api::stream::body;
use crate::api::{Api, Shared, to_the_end};
use crate::runtime::{Prompted, Session};
use promptd_model::View;

/// Seconds between asking an agent to end and killing it, when the caller does not say.
const DEFAULT_GRACE: f64 = 5.0;
/// The most seconds a caller may have a stop wait.
const MAX_GRACE: f64 = 600.0;

/// The next turn's prompt.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptRequest {
    /// The prompt.
    prompt: String,
}

/// The turn that a prompt began, or will begin when those before it are over.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct PromptAnswer {
    /// Its number.
    pub(crate) turn: u32,
}

/// Begins the next turn; it waits where one runs.
#[utoipa::path(post, path = "/v1/sessions/{id}/prompts", tag = "sessions", request_body = PromptRequest,
    params(
        ("id" = String, Path, description = "The session"),
        ("view" = Option<View>, Query, description = "In which words an event stream is; `raw` when absent"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same turn back"),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` or `application/x-ndjson`: the answer is the event stream of the turn"),
    ),
    responses(
        (status = 202, description = "Accepted", content((PromptAnswer = "application/json"), (String = "text/event-stream"), (String = "application/x-ndjson"))),
        (status = 200, description = "The same request had been made before", body = PromptAnswer),
        (status = 429, description = "`queue_full`, `rate_limited`; see `Retry-After`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn prompt(
    State(api): State<Shared>,
    SessionPath(session): SessionPath,
    query: Query,
    headers: HeaderMap,
    Json(request): Json<PromptRequest>,
) -> Result<Response, Problem> {
    let view = query.only(&["view"])?.view()?;
    let prompted = api.prompt(&session, request.prompt, idempotency_key(&headers)?).await?;
    let status = if prompted.new {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let response = match form(&headers) {
        Some(Form::Stream(wire)) => {
            let part = turn_part(prompted.after, Some(prompted.turn), view);
            body::response(&api.runtime, &session, part, wire)?
        }
        Some(Form::Json) | None => axum::Json(PromptAnswer { turn: prompted.turn }).into_response(),
    };
    Ok(naming(response, status, &session))
}

/// Asks the agent to stop this turn; the session stays.
#[utoipa::path(post, path = "/v1/sessions/{id}/interrupt", tag = "sessions",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 202, description = "Asked"),
        (status = 409, description = "`not_running`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn interrupt(
    State(api): State<Shared>,
    SessionPath(session): SessionPath,
    query: Query,
) -> Result<StatusCode, Problem> {
    query.only(&[])?;
    api.interrupt(&session).await?;
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
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 200, description = "Gone", body = StopAnswer),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn stop(
    State(api): State<Shared>,
    SessionPath(session): SessionPath,
    query: Query,
    OptionalJson(request): OptionalJson<StopRequest>,
) -> Result<axum::Json<StopAnswer>, Problem> {
    query.only(&[])?;
    let survivors = api.stop(&session, request.grace).await?;
    Ok(axum::Json(StopAnswer { survivors }))
}

/// Writes raw bytes to the agent's standard input.
#[utoipa::path(post, path = "/v1/sessions/{id}/input", tag = "sessions",
    request_body(content = String, content_type = "application/octet-stream", description = "The bytes, as they are"),
    params(
        ("id" = String, Path, description = "The session"),
        ("close" = Option<bool>, Query, description = "Close standard input behind them"),
    ),
    responses(
        (status = 204, description = "Written"),
        (status = 409, description = "`not_running`, `stdin_closed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn input(
    State(api): State<Shared>,
    SessionPath(session): SessionPath,
    query: Query,
    request: Request,
) -> Result<StatusCode, Problem> {
    let close = query.only(&["close"])?.flag("close", false)?;
    let bytes = json::read(request.into_body(), api.body_limit()).await?.freeze();
    api.input(&session, bytes, close).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What HTTP and WebSocket callers do alike. Each runs to its end, whether or not the caller stays.
impl Api {
    pub(crate) async fn prompt(
        &self,
        session: &Arc<Session>,
        text: String,
        key: Option<String>,
    ) -> Result<Prompted, Problem> {
        self.count()?;
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        to_the_end(async move { runtime.prompt(&session, text, key).await }).await
    }

    pub(crate) async fn interrupt(&self, session: &Arc<Session>) -> Result<(), Problem> {
        self.cancel(session, BTreeSet::new()).await
    }

    /// The same, and ends those of the `queued` turns that still are.
    pub(crate) async fn cancel(&self, session: &Arc<Session>, queued: BTreeSet<u32>) -> Result<(), Problem> {
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        to_the_end(async move { runtime.interrupt(&session, queued).await }).await
    }

    pub(crate) async fn stop(&self, session: &Arc<Session>, grace: Option<f64>) -> Result<u32, Problem> {
        let grace = parse_grace(grace)?;
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        to_the_end(async move { runtime.stop(&session, grace).await }).await
    }

    pub(crate) async fn input(&self, session: &Arc<Session>, bytes: Bytes, close: bool) -> Result<(), Problem> {
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        to_the_end(async move { runtime.input(&session, &bytes, close).await }).await
    }
}

fn parse_grace(seconds: Option<f64>) -> Result<Duration, Problem> {
    let seconds = seconds.unwrap_or(DEFAULT_GRACE);
    let valid = (0.0..=MAX_GRACE)
        .contains(&seconds)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten();
    valid.ok_or_else(|| {
        let detail = format!("grace is {seconds}; it must be 0 to {MAX_GRACE} seconds");
        Problem::bad_request("invalid_field", detail).with("field", "grace")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_is_seconds_within_reason() {
        assert_eq!(parse_grace(None).unwrap(), Duration::from_secs(5));
        assert_eq!(parse_grace(Some(0.25)).unwrap(), Duration::from_millis(250));
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 601.0] {
            assert_eq!(parse_grace(Some(wrong)).unwrap_err().code(), "invalid_field");
        }
    }
}
