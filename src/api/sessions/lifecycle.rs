//! `/v1/sessions`: create, list, look at, forget.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::api::http::json::Json;
use crate::api::http::negotiate::{Form, form};
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::openapi::ProblemDetails;
use crate::api::sessions::view::SessionView;
use crate::api::stream::body::{self, Part};
use crate::api::stream::feed::Until;
use crate::api::{Api, Shared, to_the_end};
use crate::runtime::{Created, RuntimeError, Session};
use promptd_model::{SessionRequest, SessionStatus, View};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const PROMPTD_SESSION: HeaderName = HeaderName::from_static("promptd-session");

/// The longest `Idempotency-Key`: room for any hash or path, and small enough to keep with every turn.
const MAX_KEY: usize = 255;

/// Sessions in a page of the list when the caller names no number.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Creates a session; with `prompt`, starts its first turn.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = SessionRequest,
    params(
        ("view" = Option<View>, Query, description = "In which words an event stream is; `raw` when absent"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same session back"),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` or `application/x-ndjson`: the answer is the event stream of the first turn"),
    ),
    responses(
        (status = 201, description = "Created; `Location` and `Promptd-Session` name it", content((SessionView = "application/json"), (String = "text/event-stream"), (String = "application/x-ndjson"))),
        (status = 200, description = "The same request had been made before", body = SessionView),
        (status = 409, description = "`idempotency_conflict`: key or id was used with another body", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`agent_not_found`, `agent_not_installed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "`queue_full`, `rate_limited`; see `Retry-After`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "`disk_full`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    Json(request): Json<SessionRequest>,
) -> Result<Response, Problem> {
    let view = query.only(&["view"])?.view()?;
    let created = api.create(request, idempotency_key(&headers)?).await?;
    let status = if created.new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let response = match form(&headers) {
        Some(Form::Stream(wire)) => {
            let part = turn_part(created.after, created.turn, view);
            body::response(&api.runtime, &created.session, part, wire)?
        }
        Some(Form::Json) | None => axum::Json(SessionView::of(&api.runtime, &created.session)).into_response(),
    };
    Ok(naming(response, status, &created.session))
}

/// The part of a session's journal that is a turn's event stream.
pub(crate) fn turn_part(after: u64, turn: Option<u32>, view: View) -> Part {
    // A session without a turn is followed until it has had one.
    let until = if turn.is_some() { Until::Deleted } else { Until::Settled };
    Part {
        after,
        turn,
        until,
        view,
    }
}

/// Names the session in the headers of an answer.
pub(crate) fn naming(mut response: Response, status: StatusCode, session: &Session) -> Response {
    *response.status_mut() = status;
    let id = session.id().as_str();
    for (name, value) in [
        (LOCATION, format!("/v1/sessions/{id}")),
        (PROMPTD_SESSION, id.to_owned()),
    ] {
        // Ids are made of characters that a header may have.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The caller's `Idempotency-Key`.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        Ok(_) | Err(_) => {
            let detail = format!(
                "the Idempotency-Key has {} bytes or is not ASCII; use 1 to {MAX_KEY} visible ASCII characters",
                key.len()
            );
            Err(Problem::bad_request("invalid_header", detail))
        }
    }
}

impl Api {
    /// Creates a session, whether or not the caller stays to hear of it.
    pub(crate) async fn create(&self, request: SessionRequest, key: Option<String>) -> Result<Created, Problem> {
        self.count()?;
        let runtime = Arc::clone(&self.runtime);
        let secret = SessionRequest {
            env: request.env.clone(),
            repo: request.repo.clone(),
            sinks: request.sinks.clone(),
            mcp_servers: request.mcp_servers.clone(),
            mask: request.mask,
            ..SessionRequest::default()
        };
        let created = to_the_end(async move { runtime.creator.create(request, key).await }).await;
        // A refusal may quote a value, which no session's secrets hide, since there is none.
        created.map_err(|problem| problem.masked(self.runtime.masks.of_request(&secret).as_deref()))
    }

    /// Forgets a session, whether or not the caller stays.
    pub(crate) async fn delete(&self, id: String) -> Result<(), Problem> {
        let runtime = Arc::clone(&self.runtime);
        let forget = async move {
            match runtime.sessions.get(&id) {
                Ok(session) => runtime.removal.delete(&session).await,
                Err(RuntimeError::SessionDamaged { .. }) => runtime.removal.delete_damaged(&id),
                Err(error) => Err(error),
            }
        };
        to_the_end(forget).await
    }

    /// Hides secrets in a refusal that does not pass the gate.
    pub(crate) fn hide(&self, session: Option<&Session>, problem: Problem) -> Problem {
        let masker = match session {
            Some(session) => self.runtime.masks.of_session(session),
            None => self.runtime.masks.of_server(),
        };
        problem.masked(masker.as_deref())
    }
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
    responses(
        (status = 200, description = "A page", body = SessionList),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(State(api): State<Shared>, query: Query) -> Result<axum::Json<SessionList>, Problem> {
    let query = query.only(&["status", "agent", "limit", "cursor"])?;
    let status = query.text("status").map(parse_status).transpose()?;
    let limit = limit(&query, DEFAULT_LIMIT, MAX_LIMIT)?;
    let mut sessions = api.runtime.sessions.all();
    if let Some(cursor) = query.text("cursor") {
        let at = sessions.iter().position(|session| session.id().as_str() == cursor);
        let at = at.ok_or_else(|| {
            invalid(
                "cursor",
                cursor,
                "`next` of a page, whose session still exists; begin again without it",
            )
        })?;
        sessions.drain(..=at);
    }
    let agent = query.text("agent");
    sessions.retain(|session| {
        agent.is_none_or(|agent| session.agent() == agent)
            && status.is_none_or(|status| session.latest().status() == status)
    });
    let more = sessions.len() > limit;
    sessions.truncate(limit);
    let next = sessions.last().filter(|_| more).map(|session| session.id().to_string());
    Ok(axum::Json(SessionList {
        sessions: sessions
            .iter()
            .map(|session| SessionView::of(&api.runtime, session))
            .collect(),
        next,
    }))
}

fn parse_status(text: &str) -> Result<SessionStatus, Problem> {
    let right = "one of idle, queued, running, waiting, completed, failed, cancelled, timed_out, lost";
    serde_json::from_value(text.into()).map_err(|_| invalid("status", text, right))
}

/// The `limit` of a page.
pub(crate) fn limit(query: &Query, default: usize, most: usize) -> Result<usize, Problem> {
    match query.number::<usize>("limit")? {
        None => Ok(default),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => Err(invalid("limit", &limit.to_string(), &format!("1 to {most}"))),
    }
}

/// Shows a session.
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = 404, description = "`session_not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn show(
    State(api): State<Shared>,
    SessionPath(session): SessionPath,
    query: Query,
) -> Result<axum::Json<SessionView>, Problem> {
    query.only(&[])?;
    Ok(axum::Json(SessionView::of(&api.runtime, &session)))
}

/// Stops what runs, then forgets the session and its journal.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 404, description = "`session_not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn delete(
    State(api): State<Shared>,
    Path(id): Path<String>,
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
    fn a_status_is_one_of_the_contracts() {
        assert_eq!(parse_status("timed_out").unwrap(), SessionStatus::TimedOut);
        assert_eq!(parse_status("done").unwrap_err().code(), "invalid_parameter");
    }

    #[test]
    fn an_idempotency_key_has_a_size() {
        let key = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, text.parse().unwrap());
            idempotency_key(&headers)
        };
        assert_eq!(key("k-1").unwrap().as_deref(), Some("k-1"));
        assert!(key("").is_err() && key(&"x".repeat(256)).is_err());
        assert!(idempotency_key(&HeaderMap::new()).unwrap().is_none());
    }
}
