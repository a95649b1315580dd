//! Requests to the server.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;

/// How long a response may take that is not a stream.
const TIMEOUT: Duration = Duration::from_mins(1);

/// An idempotent request, which can be sent again.
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
            timeout: Some(TIMEOUT),
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

    /// For a response that takes longer.
    pub(crate) fn allow(self, more: Duration) -> Self {
        Self {
            timeout: Some(TIMEOUT.saturating_add(more)),
            ..self
        }
    }

    /// For a stream, which has no timeout.
    pub(crate) fn ndjson(self) -> Self {
        Self {
            accept: "application/x-ndjson",
            timeout: None,
            ..self
        }
    }
}

/// `/v1/sessions/{id}…`, percent-encoded: the server refuses a wrong id.
pub(crate) fn session_path(id: &str, rest: &str) -> String {
    format!("/v1/sessions/{}{rest}", escape(id))
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
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
