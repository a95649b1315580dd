//! The session that a path names: the only place that takes it from a path.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::api::http::problem::Problem;
use crate::api::state::SharedState;
use crate::runtime::{RuntimeError, Session};

/// The session behind `{id}`.
pub(crate) struct SessionPath(pub(crate) Arc<Session>);

/// `{id}` of a session, also of one that is damaged.
pub(crate) struct KnownIdPath(pub(crate) String);

/// `{id}` itself, whether or not there is such a session.
pub(crate) struct SessionIdPath(pub(crate) String);

impl FromRequestParts<SharedState> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &SharedState) -> Result<Self, Problem> {
        let SessionIdPath(id) = SessionIdPath::from_request_parts(parts, api).await?;
        Ok(Self(api.runtime.sessions.get(&id)?))
    }
}

impl FromRequestParts<SharedState> for KnownIdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &SharedState) -> Result<Self, Problem> {
        let SessionIdPath(id) = SessionIdPath::from_request_parts(parts, api).await?;
        match api.runtime.sessions.get(&id) {
            Err(error @ RuntimeError::SessionNotFound { .. }) => Err(error.into()),
            Ok(_) | Err(_) => Ok(Self(id)),
        }
    }
}

impl FromRequestParts<SharedState> for SessionIdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _api: &SharedState) -> Result<Self, Problem> {
        let id = session_id(parts).await;
        id.map(Self).ok_or_else(|| {
            // Not UTF-8 after decoding, so no id of ours.
            let id = parts.uri.path().to_owned();
            RuntimeError::SessionNotFound { id }.into()
        })
    }
}

/// `{id}` of the route that was matched, if it has one.
pub(crate) async fn session_id(parts: &mut Parts) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    params
        .iter()
        .find(|(name, _)| *name == "id")
        .map(|(_, id)| id.to_owned())
}
