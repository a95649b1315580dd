//! The request header and the response that creating a session and prompting one have in common.

use std::sync::Arc;

use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use crate::api::http::negotiate::{ResponseFormat, requested_format};
use crate::api::http::problem::Problem;
use crate::api::state::AppState;
use crate::api::stream::body::{self, Part};
use crate::api::stream::feed::Until;
use crate::runtime::Session;
use promptd_model::View;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PROMPTD_SESSION: HeaderName = HeaderName::from_static("promptd-session");

/// The longest `Idempotency-Key`: room for any hash or path, and small enough to keep with every turn.
const MAX_KEY: usize = 255;

/// A turn that was accepted: its records follow the record `after`. A session may have been created without a turn.
pub(crate) struct Accepted<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) turn: Option<u32>,
    pub(crate) after: u64,
    pub(crate) status: StatusCode,
}

impl Accepted<'_> {
    /// The turn's event stream where `Accept` asks for one, else `json`.
    pub(crate) fn respond(
        self,
        api: &AppState,
        headers: &HeaderMap,
        view: View,
        json: impl FnOnce() -> Response,
    ) -> Result<Response, Problem> {
        let mut response = match requested_format(headers) {
            Some(ResponseFormat::Stream(format)) => {
                // A session without a turn is followed until it has had one.
                let until = if self.turn.is_some() {
                    Until::Deleted
                } else {
                    Until::Settled
                };
                let (after, turn) = (self.after, self.turn);
                let part = Part {
                    after,
                    turn,
                    until,
                    view,
                };
                body::response(&api.runtime, self.session, part, format)?
            }
            Some(ResponseFormat::Json) | None => json(),
        };
        *response.status_mut() = self.status;
        let id = self.session.id().as_str();
        for (name, value) in [
            (LOCATION, format!("/v1/sessions/{id}")),
            (PROMPTD_SESSION, id.to_owned()),
        ] {
            // Ids are made of characters that a header may have.
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_has_1_to_255_characters() {
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
