//! The session that a path names.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::api::Shared;
use crate::api::http::problem::Problem;
use crate::runtime::{RuntimeError, Session};

/// The session behind `{id}`.
pub(crate) struct SessionPath(pub(crate) Arc<Session>);

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
