//! Refusals and failures as HTTP answers (RFC 9457, `application/problem+json`).
//!
//! A [`Problem`] travels in the response's extensions to the middleware, which writes it out: only there is the
//! request's id known. Codes are stable: callers may branch on them, never on the texts. `errors` maps errors to
//! problems.

use std::fmt::Display;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::runtime::RuntimeError;
use promptd_mask::Masker;

/// The content type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Seconds after which a caller may try again when the server goes down: its successor is up by then.
const RESTART_SECONDS: u64 = 2;

/// A refusal or a failure, ready to be sent to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

/// A refusal or a failure, as RFC 9457 defines it.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails {
    /// `urn:promptd:problem:` and the code.
    r#type: String,
    /// The code as a phrase.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What was wrong, with the value and what would be right.
    detail: String,
    /// Stable; what programs may branch on.
    code: String,
    /// The `Request-Id` of the answer.
    request_id: String,
}

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// Members beyond RFC 9457's, for programs.
    extra: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            detail: detail.into(),
            extra: Map::new(),
            headers: Vec::new(),
        }))
    }

    /// 400, by far the most frequent.
    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// A failure of ours: the log tells more than the answer.
    pub(crate) fn internal(what: &dyn Display) -> Self {
        tracing::error!(error = %what, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log tells more under this request_id",
        )
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Display) -> Self {
        // What we put into headers is made of digits and ASCII words; anything else is left out.
        if let Ok(value) = HeaderValue::try_from(value.to_string()) {
            self.0.headers.push((name, value));
        }
        self
    }

    #[must_use]
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with_header(RETRY_AFTER, seconds)
    }

    /// Without the secrets that a value in it may hold.
    #[must_use]
    pub(crate) fn masked(mut self, masker: Option<&Masker>) -> Self {
        if let Some(masker) = masker {
            self.0.detail = masker.text(&self.0.detail).into_owned();
            for value in self.0.extra.values_mut() {
                masker.json_value(value);
            }
        }
        self
    }

    /// 503: the server goes down.
    pub(crate) fn shutting_down() -> Self {
        let detail = RuntimeError::ShuttingDown.to_string();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail).retry_after(RESTART_SECONDS)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Writes the answer: as a problem, or as the `{"error"}` that clients of other systems expect.
    pub(crate) fn render(&self, request_id: &str, plain: bool) -> Response {
        let (kind, body) = if plain {
            ("application/json", json!({ "error": self.0.detail }))
        } else {
            (PROBLEM_JSON, Value::Object(self.body(request_id)))
        };
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.extend(self.0.headers.iter().cloned());
        response
    }

    /// Members beyond RFC 9457's, for programs.
    pub(crate) fn extra(&self) -> &Map<String, Value> {
        &self.0.extra
    }

    pub(crate) fn body(&self, request_id: &str) -> Map<String, Value> {
        let mut body = self.0.extra.clone();
        body.insert("type".to_owned(), format!("urn:promptd:problem:{}", self.0.code).into());
        body.insert("title".to_owned(), title(self.0.code).into());
        body.insert("status".to_owned(), self.0.status.as_u16().into());
        body.insert("detail".to_owned(), self.0.detail.clone().into());
        body.insert("code".to_owned(), self.0.code.into());
        body.insert("request_id".to_owned(), request_id.into());
        body
    }
}

/// `agent_not_found` → `Agent not found`.
fn title(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
