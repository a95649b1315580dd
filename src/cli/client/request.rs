//! Requests that can be sent again.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;

/// How long an answer that is no stream may take.
const ANSWER: Duration = Duration::from_mins(1);

/// A request that can be sent more than once.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) accept: &'static str,
    pub(super) body: Option<Vec<u8>>,
    pub(super) idempotency_key: Option<String>,
    pub(super) timeout: Option<Duration>,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            accept: "application/json",
            body: None,
            idempotency_key: None,
            timeout: Some(ANSWER),
        }
    }

    pub(crate) fn post(path: impl Into<String>, body: Vec<u8>) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(path)
        }
    }

    pub(crate) fn put(path: impl Into<String>, body: Vec<u8>) -> Self {
        Self {
            method: Method::PUT,
            ..Self::post(path, body)
        }
    }

    pub(crate) fn idempotency_key(self, key: String) -> Self {
        Self {
            idempotency_key: Some(key),
            ..self
        }
    }

    /// For an answer that takes `more` to be ready.
    pub(crate) fn allow(self, more: Duration) -> Self {
        Self {
            timeout: Some(ANSWER.saturating_add(more)),
            ..self
        }
    }

    /// For an answer that has no end of its own.
    pub(crate) fn ndjson(self) -> Self {
        Self {
            accept: "application/x-ndjson",
            timeout: None,
            ..self
        }
    }
}

/// `/v1/sessions/{id}…`, with what a URL needs escaped, so that a wrong id is the server's to refuse.
pub(crate) fn session_path(id: &str, rest: &str) -> String {
    let mut path = "/v1/sessions/".to_owned();
    path.push_str(&escape(id));
    path.push_str(rest);
    path
}

/// Percent-encodes all that is not unreserved (RFC 3986, 2.3).
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _written = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
