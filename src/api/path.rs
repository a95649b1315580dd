//! The session that a path names.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::Shared;
use super::problem::Problem;
use crate::runtime::{RuntimeError, Session};

/// The session behind `{id}`.
pub(super) struct SessionPath(pub(super) Arc<Session>);

impl FromRequestParts<Shared> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, api).await {
            Ok(Path(id)) => Ok(Self(api.runtime.session(&id)?)),
            // Not UTF-8 after decoding, so no id of ours.
            Err(_) => Err(RuntimeError::SessionNotFound {
                id: parts.uri.path().to_owned(),
            }
            .into()),
        }
    }
}
