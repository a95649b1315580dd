//! `GET /v1/sessions/{id}/events`: the journal as SSE, NDJSON or a JSON page.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::api::http::negotiate::{ResponseFormat, StreamFormat, requested_format};
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::state::SharedState;
use crate::api::stream::body::{self, Part};
use crate::api::stream::feed::{Feed, Until};
use crate::api::stream::page;
use promptd_model::View;

const LAST_EVENT_ID: &str = "last-event-id";

/// The journal, from any record on.
#[utoipa::path(get, path = "/v1/sessions/{id}/events", tag = "sessions",
    params(
        ("after" = Option<u64>, Query, description = "Begin after this `seq`; 0 when absent"),
        ("follow" = Option<bool>, Query, description = "Wait for more until the session's turns are over (streams only); true when absent"),
        ("limit" = Option<usize>, Query, description = "Lines in a JSON page, 1 to 10000; 1000 when absent"),
        ("view" = Option<View>, Query, description = "`raw`, the journal's own lines, when absent; with `updates` what agents say comes as `UpdateEvent`s"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Overrides `after`: what a browser sends when it reconnects"),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` (also when absent), `application/x-ndjson`, or `application/json` for a page"),
    ),
    responses(
        (status = 200, description = "The records", content((String = "text/event-stream"), (String = "application/x-ndjson"), (page::EventPage = "application/json"))),
        (status = 410, description = "`cursor_expired`, with `earliest`"),
        (status = 416, description = "`cursor_ahead`, with `last`"),
    ))]
pub(crate) async fn events(
    State(api): State<SharedState>,
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
    let limit = query.limit(page::DEFAULT_LIMIT, page::MAX_LIMIT)?;
    match requested_format(&headers).unwrap_or(ResponseFormat::Stream(StreamFormat::Sse)) {
        ResponseFormat::Stream(format) => {
            let turn = None;
            let part = Part {
                after,
                turn,
                until,
                view,
            };
            body::response(&api.runtime, &session, part, format)
        }
        ResponseFormat::Json => {
            let feed = Feed::open(&api.runtime, &session, after, Until::Now, view)?;
            page::read(feed, after, limit).await
        }
    }
}

/// What a browser's `EventSource` sends when it reconnects; it is newer than the `after` of the URL.
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
