//! `GET /v1/sessions/{id}/events`: the journal as SSE, NDJSON or a JSON page.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::api::Shared;
use crate::api::http::negotiate::{Form, form};
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::ProblemDetails;
use crate::api::sessions::lifecycle::limit;
use crate::api::stream::body::{self, Part};
use crate::api::stream::feed::{Feed, Until};
use crate::api::stream::framer::Wire;
use crate::api::stream::page;
use promptd_model::View;

const LAST_EVENT_ID: &str = "last-event-id";

/// The journal, from any record on.
#[utoipa::path(get, path = "/v1/sessions/{id}/events", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session"),
        ("after" = Option<u64>, Query, description = "Begin after this `seq`; 0 when absent"),
        ("follow" = Option<bool>, Query, description = "Wait for more until the session's turns are over (streams only); true when absent"),
        ("limit" = Option<usize>, Query, description = "Lines in a JSON page, 1 to 10000; 1000 when absent"),
        ("view" = Option<View>, Query, description = "`raw`, the journal's own lines, when absent; with `updates` what agents say comes as `UpdateEvent`s"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Like `after`, and stronger: what a browser sends when it comes back"),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` (also when absent), `application/x-ndjson`, or `application/json` for a page"),
    ),
    responses(
        (status = 200, description = "The records", content((String = "text/event-stream"), (String = "application/x-ndjson"), (crate::api::openapi::EventPage = "application/json"))),
        (status = 410, description = "`cursor_expired`, with `earliest`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 416, description = "`cursor_ahead`, with `last`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn events(
    State(api): State<Shared>,
    SessionPath(session): SessionPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["after", "follow", "limit", "view"])?;
    let view = query.view()?;
    let after = match last_event_id(&headers)? {
        Some(id) => id,
        None => query.number("after")?.unwrap_or(0),
    };
    let until = if query.flag("follow", true)? {
        Until::Settled
    } else {
        Until::Now
    };
    let limit = limit(&query, page::DEFAULT_LIMIT, page::MAX_LIMIT)?;
    match form(&headers).unwrap_or(Form::Stream(Wire::Sse)) {
        Form::Stream(wire) => body::response(
            &api.runtime,
            &session,
            Part {
                after,
                turn: None,
                until,
                view,
            },
            wire,
        ),
        Form::Json => {
            page::read(
                Feed::open(&api.runtime, &session, after, Until::Now, view)?,
                after,
                limit,
            )
            .await
        }
    }
}

/// What a browser's `EventSource` sends when it comes back; it knows more than the URL it was made with.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(id.as_bytes());
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Problem::bad_request(
            "invalid_header",
            format!("Last-Event-ID is {text:?}; it must be the seq of a record, such as 17"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_event_id_is_a_seq() {
        let ask = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_EVENT_ID, text.parse().unwrap());
            last_event_id(&headers)
        };
        assert_eq!(ask("17").unwrap(), Some(17));
        assert_eq!(ask("").unwrap(), None);
        assert_eq!(ask("abc").unwrap_err().code(), "invalid_header");
    }
}
