//! `POST /execute` and `GET /health`: the shape that other sandboxes' servers have, over our sessions.
//!
//! Errors are `{"error"}` there. Fields we do not know are ignored, because callers of other servers send theirs.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use super::json::{self, parse};
use super::problem::Problem;
use super::view::time;
use crate::model::{SessionId, SessionRequest};
use crate::runtime::RuntimeError;

/// What `POST /execute` takes.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExecuteRequest {
    /// The caller's name for the agent that works; kept in the session's metadata.
    #[schema(required)]
    agent_id: Option<String>,
    /// The session; the same again means its next turn.
    #[schema(required)]
    session_id: Option<String>,
    /// The prompt.
    #[schema(required)]
    prompt: Option<String>,
    /// Environment for the agent.
    env: Option<BTreeMap<String, String>>,
    /// Which agent; the configured default when absent.
    agent: Option<String>,
    /// Where output goes (a later version).
    #[schema(value_type = Option<Object>)]
    storage: Option<Value>,
}

/// What `POST /execute` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecuteAnswer {
    success: bool,
    agent_id: String,
    session_id: String,
    /// `started`.
    status: &'static str,
    message: String,
}

/// An error in that shape.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ExecuteError {
    /// What was wrong.
    error: String,
    #[serde(skip)]
    #[schema(ignore)]
    problem: Option<Box<Problem>>,
}

impl ExecuteError {
    fn bad_request(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            problem: None,
        }
    }
}

impl<T: Into<Problem>> From<T> for ExecuteError {
    fn from(problem: T) -> Self {
        let problem = problem.into();
        Self {
            error: problem.detail().to_owned(),
            problem: Some(Box::new(problem)),
        }
    }
}

impl IntoResponse for ExecuteError {
    fn into_response(self) -> Response {
        match self.problem {
            // Status and headers are the problem's; its body is written in this shape at the edge.
            Some(problem) => problem.into_response(),
            None => (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": self.error }))).into_response(),
        }
    }
}

/// A request whose parts are all there.
struct Execution {
    agent_id: String,
    id: SessionId,
    prompt: String,
    agent: Option<String>,
    env: BTreeMap<String, String>,
}

/// Starts a turn and answers at once.
#[utoipa::path(post, path = "/execute", tag = "elsewhere", request_body = ExecuteRequest,
    responses(
        (status = 200, description = "Started", body = ExecuteAnswer),
        (status = "default", description = "Refused", body = ExecuteError),
    ))]
pub(super) async fn execute(
    State(api): State<Shared>,
    request: Request,
) -> Result<axum::Json<ExecuteAnswer>, ExecuteError> {
    let body = json::read(request.into_body(), api.body_limit()).await?;
    let Execution {
        agent_id,
        id,
        prompt,
        agent,
        env,
    } = check(parse(&body)?)?;
    let session_id = id.to_string();
    let turn = match api.runtime.session(id.as_str()) {
        Ok(session) => api.prompt(&session, prompt, None).await?.turn,
        Err(RuntimeError::SessionNotFound { .. }) => {
            let metadata = [("agentId".to_owned(), Value::from(agent_id.clone()))]
                .into_iter()
                .collect();
            let request = SessionRequest {
                id: Some(id),
                prompt: Some(prompt),
                agent,
                env,
                metadata,
                ..SessionRequest::default()
            };
            start(&api, request).await?
        }
        Err(error) => return Err(error.into()),
    };
    let message = format!("turn {turn} was accepted; follow it at /v1/sessions/{session_id}/events");
    Ok(axum::Json(ExecuteAnswer {
        success: true,
        agent_id,
        session_id,
        status: "started",
        message,
    }))
}

/// Creates the session with its first turn; or its next one, where somebody else has just created it.
async fn start(api: &Shared, request: SessionRequest) -> Result<u32, Problem> {
    let (id, prompt) = (request.id.clone(), request.prompt.clone().unwrap_or_default());
    match api.create(request, None).await {
        Ok(created) if created.new => return Ok(created.turn.unwrap_or(1)),
        Err(problem) if problem.code() != "idempotency_conflict" => return Err(problem),
        Ok(_) | Err(_) => {}
    }
    let session = api.runtime.session(id.as_ref().map_or("", SessionId::as_str))?;
    Ok(api.prompt(&session, prompt, None).await?.turn)
}

fn check(request: ExecuteRequest) -> Result<Execution, ExecuteError> {
    let given = |field: Option<String>| field.filter(|text| !text.is_empty());
    let (Some(agent_id), Some(id), Some(prompt)) = (
        given(request.agent_id),
        given(request.session_id),
        given(request.prompt),
    ) else {
        return Err(ExecuteError::bad_request("agentId, sessionId, and prompt are required"));
    };
    if request.storage.is_some_and(|storage| !storage.is_null()) {
        let version = env!("CARGO_PKG_VERSION");
        let error = format!(
            "this version of promptd ({version}) has no storage delivery yet; leave storage out and follow /v1/sessions/{{sessionId}}/events"
        );
        return Err(ExecuteError::bad_request(error));
    }
    let id = SessionId::try_from(id).map_err(|error| ExecuteError::bad_request(format!("sessionId: {error}")))?;
    Ok(Execution {
        agent_id,
        id,
        prompt,
        agent: request.agent,
        env: request.env.unwrap_or_default(),
    })
}

/// What `GET /health` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    /// `healthy`.
    status: &'static str,
    timestamp: String,
    storage_configured: bool,
}

/// Alive, in the shape that other sandboxes' servers have. Needs no token.
#[utoipa::path(get, path = "/health", tag = "elsewhere", responses((status = 200, description = "Alive", body = Health)))]
pub(super) async fn health() -> axum::Json<Health> {
    axum::Json(Health {
        status: "healthy",
        timestamp: time(Timestamp::now()),
        storage_configured: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let checked = parse(text.as_bytes()).map_err(ExecuteError::from).and_then(check);
        checked.map_or_else(|error| error.error, |_| "taken".to_owned())
    }

    #[test]
    fn the_three_required_fields_are_asked_for_in_the_words_of_the_original() {
        let words = "agentId, sessionId, and prompt are required";
        for text in [
            "{}",
            r#"{"agentId":"a","sessionId":"s"}"#,
            r#"{"agentId":"a","sessionId":"s","prompt":""}"#,
            r#"{"agentId":null}"#,
        ] {
            assert_eq!(refusal(text), words);
        }
        assert_eq!(
            refusal(r#"{"agentId":"a","sessionId":"s","prompt":"p","other":1}"#),
            "taken"
        );
    }

    #[test]
    fn storage_and_impossible_ids_are_refused() {
        assert!(
            refusal(r#"{"agentId":"a","sessionId":"s","prompt":"p","storage":{}}"#).contains("no storage delivery yet")
        );
        assert_eq!(
            refusal(r#"{"agentId":"a","sessionId":"s","prompt":"p","storage":null}"#),
            "taken"
        );
        assert!(refusal(r#"{"agentId":"a","sessionId":"a/b","prompt":"p"}"#).starts_with("sessionId: "));
        assert!(refusal("{").starts_with("the body is not JSON"));
    }
}
