//! The one place where errors become problems: status, stable code, members for programs.

use std::io;

use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;

use crate::api::http::problem::Problem;
use crate::runtime::{EnvdError, RuntimeError};
use promptd_artifacts::ArtifactError;
use promptd_journal::{ReadError, SeekError, WriteError};

/// Seconds after which a caller may try again where git was too slow.
const GIT_RETRY_SECONDS: u64 = 5;

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
            RuntimeError::Unsupported { field, able, .. } if able.is_empty() => {
                unprocessable("unsupported").with("field", field)
            }
            RuntimeError::Unsupported { field, able, .. } => {
                unprocessable("unsupported").with("field", field).with("agents", able)
            }
            RuntimeError::TextOnly { able, .. } => unprocessable("unsupported")
                .with("field", "prompt")
                .with("agents", able),
            RuntimeError::NotSteerable { able, .. } => {
                unprocessable("unsupported").with("field", "when").with("agents", able)
            }
            RuntimeError::InvalidMember(wrong) => Self::bad_request("invalid_field", detail).with("field", wrong.path),
            RuntimeError::InvalidField { field, .. } => Self::bad_request("invalid_field", detail).with("field", field),
            RuntimeError::InvalidSink { field, .. } => Self::bad_request("invalid_field", detail).with("field", field),
            RuntimeError::TooLarge { field, size, limit, .. } => unprocessable("too_large_to_start")
                .with("field", field)
                .with("size", size)
                .with("limit", limit),
            RuntimeError::WrongMounted { .. } => unprocessable("wrong_mounted_file"),
            RuntimeError::SessionLost { .. } => conflict("agent_session_lost"),
            RuntimeError::SessionNewer { .. } => conflict("session_newer"),
            RuntimeError::Conflict { .. } => conflict("idempotency_conflict"),
            RuntimeError::TokenOfEnvironment => conflict("token_of_environment"),
            RuntimeError::HomeInUse { .. } => conflict("home_in_use"),
            RuntimeError::HomeNotPrivate { .. } => conflict("home_not_private"),
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
            RuntimeError::Write(WriteError::Locked { .. }) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "session_locked", detail).retry_after(1)
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

impl From<ArtifactError> for Problem {
    fn from(error: ArtifactError) -> Self {
        let detail = error.to_string();
        match error {
            ArtifactError::NoRepository => Self::new(StatusCode::CONFLICT, "no_repository", detail),
            ArtifactError::TooMany | ArtifactError::TooLarge(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "artifacts_too_large", detail)
            }
            ArtifactError::Slow(_) | ArtifactError::Stalled => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "git_slow", detail).retry_after(GIT_RETRY_SECONDS)
            }
            ArtifactError::NotStarted(source) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "git_failed",
                format!("{detail} ({source})"),
            ),
            ArtifactError::Git(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "git_failed", detail),
            ArtifactError::ReaderGone => Self::internal(&detail),
            ArtifactError::Io { source, .. } => storage(detail, &source),
        }
    }
}

fn disk_full(detail: String) -> Problem {
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail)
}

fn storage(detail: String, source: &io::Error) -> Problem {
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
    use axum::http::header::RETRY_AFTER;
    use serde_json::{Value, json};

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_a_code() {
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
    fn a_bad_cursor_says_where_the_journal_begins_and_ends() {
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
    fn a_full_disk_is_507() {
        let error = io::Error::from_raw_os_error(28);
        let problem = Problem::from(RuntimeError::Io {
            path: "/x".into(),
            source: error,
        });
        assert_eq!((problem.status().as_u16(), problem.code()), (507, "disk_full"));
    }
}
