//! `POST /execute` and `GET /health`: compatible with the servers of other sandboxes, over our sessions.
//!
//! Errors are `{"error"}`. The fields of `POST /v1/sessions` are taken, too, also in camel case. What has no effect is named in
//! the answer and not refused, because callers of other servers send their own fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::compat::execute_fields::OtherFields;
use crate::api::http::body;
use crate::api::http::json::parse;
use crate::api::http::problem::Problem;
use crate::api::state::SharedState;
use crate::runtime::{NewPrompt, RuntimeError, Session};
use promptd_mask::masked;
use promptd_model::{SessionId, SinkKind, SinkRequest, time_text};
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
    fn into_sink(self) -> SinkRequest {
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

/// The backend that environment variables name, as callers of other servers set them.
fn backend_in_environment(read: impl Fn(&str) -> Option<String>) -> Option<SinkRequest> {
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
    /// Where to follow the turn, and which fields of the request have no effect: unknown ones, and those that a session keeps
    /// as it was created with.
    message: String,
}

/// A refusal.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ExecuteError {
    /// What was wrong.
    error: String,
}

/// A request with all required fields.
struct Execution {
    agent_id: String,
    id: SessionId,
    prompt: String,
    sink: Option<SinkRequest>,
    others: OtherFields,
}

/// Starts a turn and answers at once.
#[utoipa::path(post, path = "/execute", tag = "elsewhere", request_body = ExecuteRequest,
    responses(
        (status = 200, description = "Started", body = ExecuteAnswer),
        (status = "default", description = "Refused", body = ExecuteError),
    ))]
pub(crate) async fn execute(
    State(api): State<SharedState>,
    request: Request,
) -> Result<axum::Json<ExecuteAnswer>, Problem> {
    let body = body::read(request, api.body_limit(), &api.body_memory).await?;
    let Execution {
        agent_id,
        id,
        prompt,
        sink,
        others,
    } = check(parse(&body)?, OtherFields::parse(&body)?)?;
    let sink = sink.or_else(|| backend_in_environment(|name| api.runtime.access.variable(name)));
    let session_id = id.to_string();
    let (turn, ignored) = match api.runtime.sessions.get(id.as_str()) {
        Ok(session) => (
            next_turn(&api, &session, prompt, sink).await?,
            others.without_effect_in(&session, &agent_id),
        ),
        Err(RuntimeError::SessionNotFound { .. }) => start(&api, &agent_id, id, prompt, sink, others).await?,
        Err(error) => return Err(error.into()),
    };
    // By now there is a session, unless somebody has just deleted it.
    let session = api.runtime.sessions.get(&session_id).ok();
    let masker = session.and_then(|session| api.runtime.masks.of_session(&session));
    let shown = |text: &str| masked(masker.as_deref(), text);
    let mut message = format!("turn {turn} was accepted; follow it at /v1/sessions/{session_id}/events");
    if !ignored.is_empty() {
        message = format!("{message}; ignored: {}", shown(&ignored.join(", ")));
    }
    Ok(axum::Json(ExecuteAnswer {
        success: true,
        agent_id: shown(&agent_id),
        session_id,
        status: "started",
        message,
    }))
}

/// Creates the session with its first turn; or its next one, where somebody else has just created it. Answers the turn, and
/// the fields that have no effect.
async fn start(
    api: &SharedState,
    agent_id: &str,
    id: SessionId,
    prompt: String,
    sink: Option<SinkRequest>,
    others: OtherFields,
) -> Result<(u32, Vec<String>), Problem> {
    let mut request = others.request.clone();
    request.id = Some(id.clone());
    request.prompt = Some(prompt.clone().into());
    request.sinks.extend(sink.clone());
    request.metadata.insert("agentId".to_owned(), agent_id.into());
    match api.create(request, None).await {
        Ok(created) if created.new => return Ok((created.turn.unwrap_or(1), others.unknown)),
        Err(problem) if problem.code() != "idempotency_conflict" => return Err(problem),
        Ok(_) | Err(_) => {}
    }
    let session = api.runtime.sessions.get(id.as_str())?;
    let turn = next_turn(api, &session, prompt, sink).await?;
    Ok((turn, others.without_effect_in(&session, agent_id)))
}

/// The next turn of a session. Its output goes elsewhere only when it is accepted. (A backend may have another key now.)
async fn next_turn(
    api: &SharedState,
    session: &Arc<Session>,
    prompt: String,
    sink: Option<SinkRequest>,
) -> Result<u32, Problem> {
    if let Some(sink) = &sink {
        session.check_sink(sink)?;
    }
    let prompt = NewPrompt {
        sink,
        ..NewPrompt::from(prompt)
    };
    Ok(api.prompt(session, prompt, None).await?.turn)
}

fn check(request: ExecuteRequest, mut others: OtherFields) -> Result<Execution, Problem> {
    let given = |field: Option<String>| field.filter(|text| !text.is_empty());
    let (Some(agent_id), Some(id), Some(prompt)) = (
        given(request.agent_id),
        given(request.session_id),
        given(request.prompt),
    ) else {
        return Err(invalid("agentId, sessionId, and prompt are required"));
    };
    let env = request.env.unwrap_or_default();
    let sink = request.storage.map(Storage::into_sink);
    if let Err((_, error)) = Sink::all(sink.as_slice(), Scope::Session) {
        let error = format!("storage.{} {}", in_camel_case(&error.field), error.problem);
        return Err(invalid(error));
    }
    let sink = sink.or_else(|| backend_in_environment(|name| env.get(name).cloned()));
    let id = SessionId::try_from(id).map_err(|error| invalid(format!("sessionId: {error}")))?;
    others.request.agent = request.agent;
    others.request.env = env;
    Ok(Execution {
        agent_id,
        id,
        prompt,
        sink,
        others,
    })
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::bad_request("invalid_field", detail)
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
pub(crate) async fn health(State(api): State<SharedState>) -> axum::Json<Health> {
    let global = !api.runtime.settings().sinks.is_empty();
    axum::Json(Health {
        status: "healthy",
        timestamp: time_text(Timestamp::now()),
        storage_configured: global || backend_in_environment(|name| api.runtime.access.variable(name)).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let checked = parse(text.as_bytes()).and_then(|request| check(request, OtherFields::parse(text.as_bytes())?));
        checked.map_or_else(|problem| problem.detail().to_owned(), |_| "accepted".to_owned())
    }

    #[test]
    fn missing_fields_are_refused_with_the_original_text() {
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
            "accepted"
        );
    }

    #[test]
    fn storage_or_environment_choose_a_sink() {
        let sink = |rest: &str| {
            let text = format!(r#"{{"agentId":"a","sessionId":"s","prompt":"p",{rest}}}"#);
            let others = OtherFields::parse(text.as_bytes()).unwrap();
            let execution = check(parse(text.as_bytes()).unwrap(), others)
                .map_err(|problem| problem.code())
                .unwrap();
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
    fn unknown_storage_and_invalid_ids_are_refused() {
        let refused = refusal(r#"{"agentId":"a","sessionId":"s","prompt":"p","storage":{"type":"redis"}}"#);
        assert!(refused.contains("postgresql"), "{refused}");
        assert_eq!(
            refusal(r#"{"agentId":"a","sessionId":"s","prompt":"p","storage":null}"#),
            "accepted"
        );
        assert!(refusal(r#"{"agentId":"a","sessionId":"a/b","prompt":"p"}"#).starts_with("sessionId: "));
        assert!(refusal("{").starts_with("the body is not JSON"));
    }
}
