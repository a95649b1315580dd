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

use crate::api::Shared;
use crate::api::http::json::{self, parse};
use crate::api::http::problem::Problem;
use crate::api::sessions::view::time;
use crate::runtime::RuntimeError;
use promptd_model::{SessionId, SessionRequest, SinkKind, SinkRequest};
use promptd_sinks::{Scope, Sink};

/// What `POST /execute` takes.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExecuteRequest {
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
    /// Where output and status go: `{"type":"postgresql","apiUrl","apiKey"}` or
    /// `{"type":"cloudflare-kv","accountId","namespaceId","apiToken"}`. Without it, `BACKEND_API_URL` and
    /// `INTERNAL_API_KEY` in `env`, else in the server's environment, mean `postgresql`.
    storage: Option<Storage>,
}

/// Where output and status go.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Storage {
    /// `postgresql` or `cloudflare-kv`.
    #[serde(rename = "type")]
    kind: StorageKind,
    /// `postgresql`: the backend in front of it.
    api_url: Option<String>,
    /// `postgresql`: its key.
    api_key: Option<String>,
    /// `cloudflare-kv`: the account.
    account_id: Option<String>,
    /// `cloudflare-kv`: the namespace.
    namespace_id: Option<String>,
    /// `cloudflare-kv`: the API's token.
    api_token: Option<String>,
    /// `cloudflare-kv`: the API, where it is not Cloudflare's own.
    api_base: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
enum StorageKind {
    Postgresql,
    CloudflareKv,
}

impl Storage {
    fn sink(self) -> SinkRequest {
        match self.kind {
            StorageKind::Postgresql => studio(self.api_url, self.api_key),
            StorageKind::CloudflareKv => SinkRequest {
                kind: SinkKind::CloudflareKv,
                account_id: self.account_id,
                namespace_id: self.namespace_id,
                api_token: self.api_token,
                api_base: self.api_base,
                ..SinkRequest::default()
            },
        }
    }
}

fn studio(api_url: Option<String>, api_key: Option<String>) -> SinkRequest {
    SinkRequest {
        kind: SinkKind::Studio,
        api_url,
        api_key,
        ..SinkRequest::default()
    }
}

/// The backend that an environment names, as the callers of other servers have it.
fn backend_of(read: impl Fn(&str) -> Option<String>) -> Option<SinkRequest> {
    let set = |name| read(name).filter(|value| !value.is_empty());
    let (url, key) = (set("BACKEND_API_URL")?, set("INTERNAL_API_KEY")?);
    Some(studio(Some(url), Some(key)))
}

/// What `POST /execute` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExecuteAnswer {
    success: bool,
    agent_id: String,
    session_id: String,
    /// `started`.
    status: &'static str,
    message: String,
}

/// An error in that shape.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ExecuteError {
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
    sink: Option<SinkRequest>,
}

/// Starts a turn and answers at once.
#[utoipa::path(post, path = "/execute", tag = "elsewhere", request_body = ExecuteRequest,
    responses(
        (status = 200, description = "Started", body = ExecuteAnswer),
        (status = "default", description = "Refused", body = ExecuteError),
    ))]
pub(crate) async fn execute(
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
        sink,
    } = check(parse(&body)?)?;
    let sink = sink.or_else(|| backend_of(|name| api.runtime.variable(name)));
    let session_id = id.to_string();
    let turn = match api.runtime.session(id.as_str()) {
        Ok(session) => {
            // A backend may have been given another key since.
            if let Some(sink) = sink {
                api.runtime.put_sink(&session, sink).await?;
            }
            api.prompt(&session, prompt, None).await?.turn
        }
        Err(RuntimeError::SessionNotFound { .. }) => {
            let metadata = [("agentId".to_owned(), Value::from(agent_id.clone()))]
                .into_iter()
                .collect();
            let request = SessionRequest {
                id: Some(id),
                prompt: Some(prompt),
                agent,
                env,
                sinks: sink.into_iter().collect(),
                metadata,
                ..SessionRequest::default()
            };
            start(&api, request).await?
        }
        Err(error) => return Err(error.into()),
    };
    // By now there is a session, unless somebody has just deleted it.
    let masker = api
        .runtime
        .session(&session_id)
        .ok()
        .and_then(|session| api.runtime.masker(&session));
    let agent_id = masker.map_or_else(|| agent_id.clone(), |masker| masker.text(&agent_id).into_owned());
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
    let env = request.env.unwrap_or_default();
    let sink = request.storage.map(Storage::sink);
    if let Err((_, error)) = Sink::all(sink.as_slice(), Scope::Session) {
        let error = format!("storage.{} {}", in_camel_case(&error.field), error.problem);
        return Err(ExecuteError::bad_request(error));
    }
    let sink = sink.or_else(|| backend_of(|name| env.get(name).cloned()));
    let id = SessionId::try_from(id).map_err(|error| ExecuteError::bad_request(format!("sessionId: {error}")))?;
    Ok(Execution {
        agent_id,
        id,
        prompt,
        agent: request.agent,
        env,
        sink,
    })
}

/// A field as callers of this route write it.
fn in_camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |field, word| {
        let mut letters = word.chars();
        let capital = letters.next().map(|letter| letter.to_ascii_uppercase());
        field.chars().chain(capital).chain(letters).collect()
    })
}

/// What `GET /health` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// `healthy`.
    status: &'static str,
    timestamp: String,
    storage_configured: bool,
}

/// Alive, in the shape that other sandboxes' servers have. Needs no token.
#[utoipa::path(get, path = "/health", tag = "elsewhere", responses((status = 200, description = "Alive", body = Health)))]
pub(crate) async fn health(State(api): State<Shared>) -> axum::Json<Health> {
    let global = !api.runtime.settings().sinks.is_empty();
    axum::Json(Health {
        status: "healthy",
        timestamp: time(Timestamp::now()),
        storage_configured: global || backend_of(|name| api.runtime.variable(name)).is_some(),
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
    fn storage_and_the_environment_name_a_sink() {
        let sink = |rest: &str| {
            let text = format!(r#"{{"agentId":"a","sessionId":"s","prompt":"p",{rest}}}"#);
            let execution = check(parse(text.as_bytes()).unwrap()).unwrap_or_else(|error| panic!("{}", error.error));
            execution.sink.map(|sink| (sink.kind, sink.api_url, sink.account_id))
        };
        let text = |text: &str| Some(text.to_owned());
        let studio = Some((SinkKind::Studio, text("http://b"), None));
        assert_eq!(
            sink(r#""storage":{"type":"postgresql","apiUrl":"http://b","apiKey":"k"}"#),
            studio
        );
        assert_eq!(
            sink(r#""env":{"BACKEND_API_URL":"http://b","INTERNAL_API_KEY":"k"}"#),
            studio
        );
        assert_eq!(sink(r#""env":{"BACKEND_API_URL":"http://b"}"#), None);
        let kv = r#""storage":{"type":"cloudflare-kv","accountId":"a","namespaceId":"n","apiToken":"t"}"#;
        assert_eq!(sink(kv), Some((SinkKind::CloudflareKv, None, text("a"))));
    }

    #[test]
    fn unknown_storage_and_impossible_ids_are_refused() {
        let refused = refusal(r#"{"agentId":"a","sessionId":"s","prompt":"p","storage":{"type":"redis"}}"#);
        assert!(refused.contains("postgresql"), "{refused}");
        assert_eq!(
            refusal(r#"{"agentId":"a","sessionId":"s","prompt":"p","storage":null}"#),
            "taken"
        );
        assert!(refusal(r#"{"agentId":"a","sessionId":"a/b","prompt":"p"}"#).starts_with("sessionId: "));
        assert!(refusal("{").starts_with("the body is not JSON"));
    }
}
