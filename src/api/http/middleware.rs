//! What happens to every request and every response: authentication, and the headers that all responses carry.

use std::fmt::Write as _;

use axum::extract::Request;
use axum::http::header::{ALLOW, CONNECTION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::api::http::auth::{Caller, ListenerKind, authorize};
use crate::api::http::body::memory::RequestMemory;
use crate::api::http::body::unread::{REFUSED, SERVED, read_rest};
use crate::api::http::line_breaks::escape_answer;
use crate::api::http::path::session_id;
use crate::api::http::peer::Peer;
use crate::api::http::problem::Problem;
use crate::api::state::{AppState, SharedState};
use crate::runtime::AuthMode;
use promptd_sys as sys;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const PROMPTD_VERSION: HeaderName = HeaderName::from_static("promptd-version");
const PROMPTD_EPOCH: HeaderName = HeaderName::from_static("promptd-epoch");

/// The longest `Request-Id` that we take over from a caller.
const MAX_REQUEST_ID: usize = 128;

/// These need no token, are answered during a shutdown, and tell nothing but health.
const HEALTH: [&str; 2] = ["/healthz", "/health"];

/// Calls of these do not count as use of the server: they start no epoch, and a template's ready command may make them.
const PASSIVE: [&str; 3] = ["/healthz", "/health", "/readyz"];

/// Refusals of these are `{"error"}`.
const PLAIN_ERRORS: [&str; 2] = ["/execute", "/config"];

/// This one is served on the control socket only.
const CONTROL_ONLY: &str = "/v1/configuration";

/// Seconds after which a caller beyond the bound may try again.
const BUSY_SECONDS: u64 = 2;

/// The value of `Promptd-Epoch` while there is no epoch.
const DORMANT: &str = "dormant";

/// Serves a request or refuses it, and completes the response.
pub(crate) async fn handle(api: SharedState, listener: ListenerKind, request: Request, next: Next) -> Response {
    let (mut parts, body) = read_rest(request, SERVED).into_parts();
    let memory = RequestMemory::default();
    parts.extensions.insert(memory.clone());
    let given_id = parts.headers.get(REQUEST_ID).and_then(valid_id);
    let id = given_id.unwrap_or_else(new_id);
    let path = parts.uri.path().to_owned();
    tracing::debug!(id, method = %parts.method, path, "request");
    let session = session_id(&mut parts).await;
    // Of a connection that nobody has looked at, nothing is assumed.
    let peer = parts.extensions.get::<Peer>();
    let listener = listener.for_peer(peer.is_some_and(|peer| peer.is_own));
    let checked = check(&api, listener, &parts.uri, &parts.headers).await;
    let used = checked.is_ok() && !PASSIVE.contains(&path.as_str());
    let mut response = match checked {
        Ok(()) => {
            if used {
                let host = Caller::of(&parts.headers, &parts.uri).host;
                api.runtime.machine.note_host(host).await;
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    };
    drop(memory);
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let session = session.and_then(|id| api.runtime.sessions.get(&id).ok());
        response
            .extensions_mut()
            .insert(api.masked(session.as_deref(), problem));
    }
    let epoch = if used {
        Some(api.runtime.machine.epoch())
    } else {
        api.runtime.machine.known_epoch()
    };
    let plain = PLAIN_ERRORS.contains(&path.as_str());
    escape_answer(complete(response, epoch.as_deref().unwrap_or(DORMANT), &id, plain)).await
}

/// Answers a connection beyond the bound.
pub(crate) async fn refuse(api: SharedState, request: Request, next: Next) -> Response {
    let plain = PLAIN_ERRORS.contains(&request.uri().path());
    let mut response = next.run(read_rest(request, REFUSED)).await;
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let epoch = api.runtime.machine.known_epoch();
    complete(response, epoch.as_deref().unwrap_or(DORMANT), &new_id(), plain)
}

/// The refusal of a connection beyond the bound.
pub(crate) fn too_many_connections(connections: usize) -> Problem {
    let detail = format!(
        "{connections} connections are open, and more are not served; close some, or raise limits.connections and the \
         limit of open files (`ulimit -n`)"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail)
        .retry_after(BUSY_SECONDS)
        .with_header(CONNECTION, "close")
}

async fn check(api: &AppState, listener: ListenerKind, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if HEALTH.contains(&uri.path()) {
        return Ok(());
    }
    let (mode, tokens) = (api.runtime.settings().auth, api.runtime.access.tokens());
    let listener = match listener {
        // In a sandbox the platform forwards callers from outside to the ports of loopback, with any `Host`.
        ListenerKind::Loopback if mode == AuthMode::Token && api.runtime.machine.is_in_a_sandbox() => {
            ListenerKind::Public
        }
        listener => listener,
    };
    let mut caller = Caller::of(headers, uri);
    if let Some(token) = caller.token_to_confirm(listener, mode, &tokens) {
        caller.confirmed = api.runtime.envd.accepts(token, caller.host).await?;
    }
    authorize(listener, mode, &tokens, caller)?;
    if uri.path() == CONTROL_ONLY && listener != ListenerKind::Control {
        return Err(control_socket_only());
    }
    if *api.runtime.shutdown.subscribe().borrow() {
        return Err(Problem::shutting_down());
    }
    Ok(())
}

fn control_socket_only() -> Problem {
    let detail =
        "a server is configured over its control socket only: run `promptd configure` where it runs, as the same user";
    Problem::new(StatusCode::FORBIDDEN, "control_socket_only", detail)
}

/// Writes out a problem, and adds the headers of every response.
fn complete(mut response: Response, epoch: &str, id: &str, plain: bool) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        tracing::debug!(id, status = %problem.status(), code = problem.code(), "refused");
        let allow = response.headers_mut().remove(ALLOW);
        response = problem.render(id, plain);
        response.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
    }
    let headers = response.headers_mut();
    headers.insert(PROMPTD_VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    for (name, text) in [(REQUEST_ID, id), (PROMPTD_EPOCH, epoch)] {
        // Both are made of characters that a header may have.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    response
}

/// A caller's id, if its characters are safe in logs.
fn valid_id(id: &HeaderValue) -> Option<String> {
    let text = id.to_str().ok()?;
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-' | b'/' | b'+' | b'=');
    ((1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
}

fn new_id() -> String {
    let random: [u8; 8] = sys::random_bytes().unwrap_or_default();
    random.iter().fold(String::with_capacity(16), |mut id, byte| {
        // Writing to a String cannot fail.
        let _written = write!(id, "{byte:02x}");
        id
    })
}

/// The response to an unknown path.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is nothing at {path:?}; /openapi.json lists what there is"),
    )
}

/// The response to a method that a path does not have; the router adds `Allow`.
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
    fn every_response_has_version_epoch_and_request_id() {
        for response in [
            StatusCode::OK.into_response(),
            Problem::bad_request("invalid_field", "x").into_response(),
        ] {
            let response = complete(response, "e1", "r1", false);
            assert_eq!(response.headers()[PROMPTD_EPOCH], "e1");
            assert_eq!(response.headers()[REQUEST_ID], "r1");
            assert!(response.headers().contains_key(PROMPTD_VERSION));
        }
    }

    #[test]
    fn a_valid_request_id_of_the_caller_is_kept() {
        assert_eq!(valid_id(&HeaderValue::from_static("a-1:b")).as_deref(), Some("a-1:b"));
        for strange in ["", "a b", "<script>", &"x".repeat(129)] {
            assert_eq!(valid_id(&HeaderValue::try_from(strange).unwrap()), None);
        }
        assert_eq!(new_id().len(), 16);
        assert_ne!(new_id(), new_id());
    }
}
