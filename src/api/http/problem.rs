//! The one place where what went wrong becomes an HTTP answer (RFC 9457, `application/problem+json`).
//!
//! A [`Problem`] travels to the edge in the response's extensions; `gate` writes it out there, because only
//! there is the request's id known. Codes are stable: callers may branch on them, never on the texts.

use std::fmt::Display;
use std::io;

use agent_client_protocol_schema::v1::{Error, ErrorCode};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::sessions::view::mask_value;
use crate::runtime::{EnvdError, RuntimeError};
use promptd_journal::{ReadError, SeekError, WriteError};
use promptd_mask::Masker;

/// Seconds after which a caller may try again when the server goes down: its successor is up by then.
const RESTART_SECONDS: u64 = 2;

/// A refusal or a failure, ready to be told to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

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
                mask_value(masker, value);
            }
        }
        self
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

    /// Writes the answer: as a problem, or as the `{"error"}` that callers of `/execute` know.
    pub(crate) fn render(&self, request_id: &str, plain: bool) -> Response {
        let (kind, body) = if plain {
            ("application/json", json!({ "error": self.0.detail }))
        } else {
            ("application/problem+json", Value::Object(self.body(request_id)))
        };
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.extend(self.0.headers.iter().cloned());
        response
    }

    /// The same as an error of JSON-RPC, whose codes are ACP's.
    pub(crate) fn json_rpc(self) -> Error {
        let code = match self.0.status {
            StatusCode::NOT_FOUND => ErrorCode::ResourceNotFound,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::InvalidParams,
            _ => ErrorCode::InternalError,
        };
        let mut data = self.0.extra;
        data.insert("status".to_owned(), self.0.status.as_u16().into());
        data.insert("code".to_owned(), self.0.code.into());
        Error::new(code.into(), self.0.detail).data(Value::Object(data))
    }

    fn body(&self, request_id: &str) -> Map<String, Value> {
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

impl From<RuntimeError> for Problem {
    fn from(error: RuntimeError) -> Self {
        let detail = error.to_string();
        let unprocessable = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, detail.clone());
        match error {
            RuntimeError::AgentNotFound { agent, nearest, known } => unprocessable("agent_not_found")
                .with("agent", agent)
                .with("nearest", nearest)
                .with("known", known),
            RuntimeError::AgentNotInstalled {
                agent,
                install,
                installed,
                ..
            } => unprocessable("agent_not_installed")
                .with("agent", agent)
                .with("install", install)
                .with("installed", installed),
            RuntimeError::NotInstalled { field, install, .. } => unprocessable("not_installed")
                .with("field", field)
                .with("install", install),
            RuntimeError::Unsupported { field, .. } => unprocessable("unsupported").with("field", field),
            RuntimeError::InvalidField { field, .. } => Self::bad_request("invalid_field", detail).with("field", field),
            RuntimeError::InvalidSink { field, .. } => Self::bad_request("invalid_field", detail).with("field", field),
            RuntimeError::WrongMounted { .. } => unprocessable("wrong_mounted_file"),
            RuntimeError::SessionLost { .. } => conflict("agent_session_lost"),
            RuntimeError::Conflict { .. } => conflict("idempotency_conflict"),
            RuntimeError::TokenOfEnvironment => conflict("token_of_environment"),
            RuntimeError::HomeInUse { .. } => conflict("home_in_use"),
            RuntimeError::SessionNotFound { .. } => Self::new(StatusCode::NOT_FOUND, "session_not_found", detail),
            RuntimeError::SessionDamaged { .. } | RuntimeError::Write(WriteError::Damaged { .. }) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "session_damaged", detail)
            }
            RuntimeError::QueueFull { retry_after, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", detail).retry_after(retry_after)
            }
            RuntimeError::DiskFull { .. } | RuntimeError::Write(WriteError::NoSpace { .. }) => disk_full(detail),
            RuntimeError::NotRunning { .. } => conflict("not_running"),
            RuntimeError::StdinClosed { .. } => conflict("stdin_closed"),
            RuntimeError::Conversation { .. } => conflict("conversation"),
            RuntimeError::PermissionNotFound { .. } => Self::new(StatusCode::NOT_FOUND, "permission_not_found", detail),
            RuntimeError::PermissionAnswered { option, by, .. } => {
                conflict("permission_answered").with("option", option).with("by", by)
            }
            RuntimeError::KeeperSilent { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "keeper_silent", detail).retry_after(1)
            }
            RuntimeError::ShuttingDown => Self::shutting_down(),
            RuntimeError::Io { source, .. } | RuntimeError::Write(WriteError::Io { source, .. }) => {
                storage(detail, &source)
            }
            RuntimeError::Read(error) => error.into(),
            RuntimeError::Seek(error) => error.into(),
        }
    }
}

impl From<EnvdError> for Problem {
    fn from(error: EnvdError) -> Self {
        let detail = error.to_string();
        match error {
            EnvdError::Unavailable { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "platform_unavailable", detail).retry_after(1)
            }
            EnvdError::NotSecured => {
                Self::new(StatusCode::UNAUTHORIZED, "not_configured", detail).with_header(WWW_AUTHENTICATE, "Bearer")
            }
        }
    }
}

impl From<SeekError> for Problem {
    fn from(error: SeekError) -> Self {
        let detail = error.to_string();
        match error {
            SeekError::Expired { earliest } => {
                Self::new(StatusCode::GONE, "cursor_expired", detail).with("earliest", earliest)
            }
            SeekError::Ahead { last } => {
                Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "cursor_ahead", detail).with("last", last)
            }
            SeekError::Read(error) => error.into(),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        storage(error.to_string(), &error.source)
    }
}

impl Problem {
    pub(crate) fn shutting_down() -> Self {
        let detail = RuntimeError::ShuttingDown.to_string();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail).retry_after(RESTART_SECONDS)
    }
}

fn disk_full(detail: String) -> Problem {
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail)
}

pub(crate) fn storage(detail: String, source: &io::Error) -> Problem {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return disk_full(detail);
    }
    tracing::error!(error = detail, cause = %source, "a file failed a request");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "storage_failed",
        format!("{detail} ({source})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_tells_what_rfc_9457_asks_for_and_our_code() {
        let problem = Problem::from(RuntimeError::QueueFull {
            queued: 10,
            retry_after: 7,
        });
        let body = Value::Object(problem.body("abc"));
        assert_eq!(body["type"], "urn:promptd:problem:queue_full");
        assert_eq!((&body["title"], &body["status"]), (&json!("Queue full"), &json!(429)));
        assert_eq!(
            (&body["code"], &body["request_id"]),
            (&json!("queue_full"), &json!("abc"))
        );
        assert_eq!(problem.render("abc", false).headers()[RETRY_AFTER], "7");
    }

    #[test]
    fn a_cursor_says_where_the_journal_begins_and_ends() {
        let gone = Problem::from(SeekError::Expired { earliest: 40 });
        assert_eq!(
            (gone.status(), &gone.body("")["earliest"]),
            (StatusCode::GONE, &json!(40))
        );
        let ahead = Problem::from(SeekError::Ahead { last: 9 });
        assert_eq!(
            (ahead.status(), &ahead.body("")["last"]),
            (StatusCode::RANGE_NOT_SATISFIABLE, &json!(9))
        );
    }

    #[test]
    fn a_full_disk_is_507_however_it_was_noticed() {
        let error = io::Error::from_raw_os_error(28);
        let problem = Problem::from(RuntimeError::Io {
            path: "/x".into(),
            source: error,
        });
        assert_eq!((problem.status().as_u16(), problem.code()), (507, "disk_full"));
    }
}
