//! `/v1/sessions` and `/v1/sessions/{id}`: create, list, show and delete sessions.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::api::http::json::Json;
use crate::api::http::path::{SessionIdPath, SessionPath};
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::sessions::accepted::{Accepted, idempotency_key};
use crate::api::sessions::view::SessionView;
use crate::api::state::SharedState;
use promptd_model::{SessionRequest, SessionStatus, View};

/// Sessions in a page of the list when the caller names no number.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Creates a session; with `prompt`, starts its first turn.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = SessionRequest,
    params(
        ("view" = Option<View>, Query, description = "The vocabulary of an event stream; `raw` when absent"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key returns the same session"),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` or `application/x-ndjson`: the answer is the event stream of the first turn"),
    ),
    responses(
        (status = 201, description = "Created; `Location` and `Promptd-Session` name it", content((SessionView = "application/json"), (String = "text/event-stream"), (String = "application/x-ndjson"))),
        (status = 200, description = "The same request had been made before", body = SessionView),
        (status = 409, description = "`idempotency_conflict`: key or id was used with another body"),
        (status = 422, description = "`agent_not_found`, `agent_not_installed`"),
        (status = 429, description = "`queue_full`, `rate_limited`; see `Retry-After`"),
        (status = 507, description = "`disk_full`"),
    ))]
pub(crate) async fn create(
    State(api): State<SharedState>,
    query: Query,
    headers: HeaderMap,
    Json(request): Json<SessionRequest>,
) -> Result<Response, Problem> {
    let view = query.only(&["view"])?.view()?;
    let created = api.create(request, idempotency_key(&headers)?).await?;
    let session = &created.session;
    let accepted = Accepted {
        session,
        turn: created.turn,
        after: created.after,
        status: if created.new {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
    };
    accepted.respond(&api, &headers, view, || {
        axum::Json(SessionView::of(&api.runtime, session)).into_response()
    })
}

/// A page of sessions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SessionList {
    /// Newest first.
    sessions: Vec<SessionView>,
    /// The `cursor` of the next page; null on the last one.
    next: Option<String>,
}

/// Lists sessions, newest first.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions",
    params(
        ("status" = Option<SessionStatus>, Query, description = "Only these"),
        ("agent" = Option<String>, Query, description = "Only this agent's"),
        ("limit" = Option<usize>, Query, description = "1 to 1000; 100 when absent"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = SessionList)))]
pub(crate) async fn list(State(api): State<SharedState>, query: Query) -> Result<axum::Json<SessionList>, Problem> {
    let query = query.only(&["status", "agent", "limit", "cursor"])?;
    let status = query.text("status").map(parse_status).transpose()?;
    let limit = query.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    let mut sessions = api.runtime.sessions.all();
    if let Some(cursor) = query.text("cursor") {
        let at = sessions.iter().position(|session| session.id().as_str() == cursor);
        let right = "`next` of a page, whose session still exists; begin again without it";
        sessions.drain(..=at.ok_or_else(|| invalid("cursor", cursor, right))?);
    }
    let agent = query.text("agent");
    sessions.retain(|session| {
        agent.is_none_or(|agent| session.agent() == agent)
            && status.is_none_or(|status| session.latest().status() == status)
    });
    let more = sessions.len() > limit;
    sessions.truncate(limit);
    let next = sessions.last().filter(|_| more).map(|session| session.id().to_string());
    let sessions = sessions.iter().map(|session| SessionView::of(&api.runtime, session));
    Ok(axum::Json(SessionList {
        sessions: sessions.collect(),
        next,
    }))
}

fn parse_status(text: &str) -> Result<SessionStatus, Problem> {
    let right = "one of idle, queued, running, waiting, completed, failed, cancelled, timed_out, lost";
    serde_json::from_value(text.into()).map_err(|_| invalid("status", text, right))
}

/// Shows a session.
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions",
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = 404, description = "`session_not_found`"),
    ))]
pub(crate) async fn show(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
) -> Result<axum::Json<SessionView>, Problem> {
    query.only(&[])?;
    Ok(axum::Json(SessionView::of(&api.runtime, &session)))
}

/// Stops what runs, then deletes the session and its journal.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "sessions",
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "`session_not_found`"),
    ))]
pub(crate) async fn delete(
    State(api): State<SharedState>,
    SessionIdPath(id): SessionIdPath,
    query: Query,
) -> Result<StatusCode, Problem> {
    query.only(&[])?;
    api.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_filter_is_a_known_status() {
        assert_eq!(parse_status("timed_out").unwrap(), SessionStatus::TimedOut);
        assert_eq!(parse_status("done").unwrap_err().code(), "invalid_parameter");
    }
}
