//! What happens to every request and every answer: who may come in, and the headers that all answers carry.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::api::Shared;
use crate::api::admin::configuration;
use crate::api::http::auth::{Caller, Door, admit};
use crate::api::http::problem::Problem;
use crate::runtime::{AuthMode, Runtime};
use promptd_mask::Masker;
use promptd_sys as sys;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const PROMPTD_VERSION: HeaderName = HeaderName::from_static("promptd-version");
const PROMPTD_EPOCH: HeaderName = HeaderName::from_static("promptd-epoch");

/// The longest `Request-Id` that we take over from a caller.
const MAX_REQUEST_ID: usize = 128;

/// These need no token, are answered during a shutdown, and tell nothing but health.
const HEALTH: [&str; 2] = ["/healthz", "/health"];

/// Who asks these does not use the server yet: they need no epoch, and a template's ready command may call them.
const QUIET: [&str; 3] = ["/healthz", "/health", "/readyz"];

/// The callers of these know refusals as `{"error"}`.
const PLAIN: [&str; 2] = ["/execute", "/config"];

/// Stands for the epoch while there is none.
const DORMANT: &str = "dormant";

/// Lets a request in or refuses it, and dresses the answer.
pub(crate) async fn gate(api: Shared, door: Door, request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .and_then(sane_id)
        .unwrap_or_else(new_id);
    let path = request.uri().path().to_owned();
    tracing::debug!(id, method = %request.method(), path = request.uri().path(), "request");
    let admitted = check(&api, door, request.uri(), request.headers()).await;
    let used = admitted.is_ok() && !QUIET.contains(&path.as_str());
    let mut answer = match admitted {
        Ok(()) => {
            if used {
                let host = Caller::of(request.headers(), request.uri()).host.map(str::to_owned);
                api.runtime.is_needed(host.as_deref()).await;
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = answer.extensions_mut().remove::<Problem>() {
        let problem = problem.masked(masker_at(&api.runtime, &path).as_deref());
        answer.extensions_mut().insert(problem);
    }
    let epoch = if used {
        Some(api.runtime.epoch())
    } else {
        api.runtime.known_epoch()
    };
    let plain = PLAIN.contains(&path.as_str());
    dress(answer, epoch.as_deref().unwrap_or(DORMANT), &id, plain)
}

/// What hides secrets in a refusal: the session's that the path names, and the server's.
fn masker_at(runtime: &Runtime, path: &str) -> Option<Arc<Masker>> {
    let id = path
        .strip_prefix("/v1/sessions/")
        .and_then(|rest| rest.split('/').next());
    match id.and_then(|id| runtime.session(id).ok()) {
        Some(session) => runtime.masker(&session),
        None => runtime.server_masker(),
    }
}

async fn check(api: &Shared, door: Door, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if HEALTH.contains(&uri.path()) {
        return Ok(());
    }
    let (mode, tokens) = (api.runtime.settings().auth, api.runtime.tokens());
    let door = match door {
        // The platform leads everybody to the ports of loopback, and hands on any `Host`.
        Door::Loopback if mode == AuthMode::Token && api.runtime.is_in_a_sandbox() => Door::Public,
        door => door,
    };
    let mut caller = Caller::of(headers, uri);
    if let Some(token) = caller.to_be_vouched_for(door, mode, &tokens) {
        caller.vouched = api.runtime.platform_vouches_for(token, caller.host).await?;
    }
    admit(door, mode, &tokens, caller)?;
    if uri.path() == configuration::PATH && door != Door::Control {
        return Err(configuration::elsewhere());
    }
    if *api.runtime.shutdown().borrow() {
        Err(Problem::shutting_down())
    } else {
        Ok(())
    }
}

/// Writes out a problem, and adds the headers of every answer.
fn dress(mut answer: Response, epoch: &str, id: &str, plain: bool) -> Response {
    if let Some(problem) = answer.extensions_mut().remove::<Problem>() {
        tracing::debug!(id, status = %problem.status(), code = problem.code(), "refused");
        let allow = answer.headers_mut().remove(ALLOW);
        answer = problem.render(id, plain);
        answer.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
    }
    let headers = answer.headers_mut();
    headers.insert(PROMPTD_VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    for (name, text) in [(REQUEST_ID, id), (PROMPTD_EPOCH, epoch)] {
        // Both are made of characters that a header may have.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    answer
}

/// A caller's id, if it is one that may stand in logs.
fn sane_id(id: &HeaderValue) -> Option<String> {
    let text = id.to_str().ok()?;
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-' | b'/' | b'+' | b'=');
    ((1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
}

fn new_id() -> String {
    let random: [u8; 8] = sys::random().unwrap_or_default();
    random.iter().fold(String::with_capacity(16), |mut id, byte| {
        // Writing to a String cannot fail.
        let _written = write!(id, "{byte:02x}");
        id
    })
}

/// The answer to a path that is none of ours.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is nothing at {path:?}; /openapi.json lists what there is"),
    )
}

/// The answer to a method that a path does not have; the router adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} cannot be called with {method}; the Allow header names what it can be called with",
        uri.path()
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_tells_version_epoch_and_request() {
        for answer in [
            StatusCode::OK.into_response(),
            Problem::bad_request("invalid_field", "x").into_response(),
        ] {
            let answer = dress(answer, "e1", "r1", false);
            assert_eq!(answer.headers()[PROMPTD_EPOCH], "e1");
            assert_eq!(answer.headers()[REQUEST_ID], "r1");
            assert!(answer.headers().contains_key(PROMPTD_VERSION));
        }
    }

    #[test]
    fn a_callers_request_id_is_kept_when_it_is_sane() {
        assert_eq!(sane_id(&HeaderValue::from_static("a-1:b")).as_deref(), Some("a-1:b"));
        for strange in ["", "a b", "<script>", &"x".repeat(129)] {
            assert_eq!(sane_id(&HeaderValue::try_from(strange).unwrap()), None);
        }
        assert_eq!(new_id().len(), 16);
        assert_ne!(new_id(), new_id());
    }
}
