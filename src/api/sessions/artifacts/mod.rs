//! `GET /v1/sessions/{id}/artifacts`: what the turns changed in the working directory.
//!
//! Git and the disk may take their time, so all of it happens on blocking threads, a few at once.

mod body;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::state::{ARTIFACT_SLOTS, AppState, SharedState};
use body::{LineMasker, blocking_body};
use promptd_artifacts::{ArtifactError, Artifacts, Baseline, Change, ChangeStatus, write_archive};
use promptd_mask::{Masker, masked};
use promptd_model::time_text;

/// How long a request waits for a slot.
const SLOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds after which a request that got no slot may be made again.
const RETRY_SECONDS: u64 = 5;

/// The most of a patch that a JSON answer carries.
const MAX_DIFF: usize = 1 << 20;

/// Archives are sent in blocks of this size.
const BLOCK: usize = 64 << 10;

/// What the session's turns changed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Artifacts)]
pub(crate) struct ArtifactsView {
    /// The working directory, to which all paths are relative.
    cwd: String,
    /// The commit that was checked out when the first agent began; null where there was none: then files are listed
    /// that were last changed while a turn ran, deletions are not seen, and there is no `diff`.
    base: Option<String>,
    /// Another session worked in this folder, or in one above or below it, while this one did: the changes of both may be
    /// listed. `"cwd": "new"` avoids that.
    shared: bool,
    /// When the first agent began; null before.
    since: Option<String>,
    /// The changed files, sorted by path.
    files: Vec<FileView>,
    /// There are more files than are listed.
    files_truncated: bool,
    /// A patch from `base` to what is there now, for people to read: without the content of binary files, and with
    /// secrets masked. `format=patch` gives one that `git apply` takes.
    diff: Option<String>,
    /// The patch goes on behind its first mebibyte.
    diff_truncated: bool,
}

/// A changed file.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ChangedFile)]
struct FileView {
    /// Its path.
    path: String,
    /// The path's exact bytes, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// Its path before it was renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// What became of it.
    status: ChangeStatus,
    /// Its size in bytes, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Patch,
    Archive,
}

/// What the session's turns changed in its working directory, as it is now.
///
/// Where the first agent began in a git repository: all that differs from the commit of that moment, commits and
/// untracked files included, ignored files left out. Elsewhere: the files that were last changed while one of the session's turns ran.
#[utoipa::path(get, path = "/v1/sessions/{id}/artifacts", tag = "sessions",
    params(
        ("format" = Option<String>, Query, description = "`json` (when absent), `patch` for `git apply`, or `tar.gz`: the changed files as they are, secrets not masked"),
    ),
    responses(
        (status = 200, description = "The changes", content((ArtifactsView = "application/json"), (String = "text/x-diff"), (String = "application/gzip"))),
        (status = 409, description = "`no_repository`: a patch was asked for, and there is nothing to compare with"),
        (status = 422, description = "`artifacts_too_large`: too many files, or too many bytes"),
        (status = 503, description = "`busy`, `git_slow`; see `Retry-After`"),
    ))]
pub(crate) async fn artifacts(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
) -> Result<Response, Problem> {
    let query = query.only(&["format"])?;
    let format = match query.text("format") {
        None | Some("json") => Format::Json,
        Some("patch") => Format::Patch,
        Some("tar.gz") => Format::Archive,
        Some(other) => return Err(invalid("format", other, "json, patch or tar.gz")),
    };
    let permit = wait_for_slot(&api).await?;
    let masker = api.runtime.masks.of_session(&session);
    let baseline = api.runtime.artifacts(&session);
    let shared = api.runtime.shares_its_folder(&session);
    let (id, cwd) = (session.id().as_str(), session.cwd().to_owned());
    match (format, baseline) {
        (Format::Json, baseline) => {
            let view = blocking(move || {
                let _permit = permit;
                view(&cwd.display().to_string(), baseline, shared, masker.as_deref())
            });
            Ok(axum::Json(view.await?).into_response())
        }
        (Format::Patch, None) => Err(ArtifactError::NoRepository.into()),
        (Format::Patch, Some(baseline)) => {
            let artifacts = blocking(move || {
                let artifacts = Artifacts::find(&baseline)?;
                artifacts.check_complete(false)?;
                artifacts
                    .base()
                    .is_some()
                    .then_some(artifacts)
                    .ok_or(ArtifactError::NoRepository)
            });
            let artifacts = artifacts.await?;
            let body = blocking_body(permit, move |writer| {
                let mut lines = LineMasker::new(masker);
                artifacts.patch(true, &mut |bytes| lines.write(bytes, writer))?;
                lines.finish(writer)
            });
            attachment(body, "text/x-diff; charset=utf-8", id, "patch")
        }
        (Format::Archive, baseline) => {
            let files = blocking(move || {
                let Some(baseline) = baseline else {
                    return Ok(Vec::new());
                };
                let artifacts = Artifacts::find(&baseline)?;
                artifacts.check_complete(true)?;
                Ok(artifacts.files)
            });
            let files = files.await?;
            let body = blocking_body(permit, move |writer| {
                write_archive(&cwd, &files, io::BufWriter::with_capacity(BLOCK, writer))
            });
            attachment(body, "application/gzip", id, "tar.gz")
        }
    }
}

async fn wait_for_slot(api: &AppState) -> Result<OwnedSemaphorePermit, Problem> {
    let slot = Arc::clone(&api.artifact_slots).acquire_owned();
    let slot = tokio::time::timeout(SLOT_TIMEOUT, slot).await;
    slot.ok().and_then(Result::ok).ok_or_else(|| {
        let detail = format!("{ARTIFACT_SLOTS} requests for artifacts are at work already; try again later");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(RETRY_SECONDS)
    })
}

fn attachment(body: Body, kind: &'static str, id: &str, extension: &str) -> Result<Response, Problem> {
    let name = format!("attachment; filename=\"{id}.{extension}\"");
    let name = HeaderValue::try_from(name).map_err(|error| Problem::internal(&error))?;
    let fixed = HeaderValue::from_static;
    let headers = [
        (CONTENT_TYPE, fixed(kind)),
        (CONTENT_DISPOSITION, name),
        (X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (CACHE_CONTROL, fixed("no-store")),
    ];
    Ok((headers, body).into_response())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(Problem::internal(&panic)),
    }
}

fn view(
    cwd: &str,
    baseline: Option<Baseline>,
    shared: bool,
    masker: Option<&Masker>,
) -> Result<ArtifactsView, ArtifactError> {
    let mut view = ArtifactsView {
        cwd: masked(masker, cwd),
        base: None,
        shared,
        since: baseline.as_ref().map(|baseline| time_text(baseline.since)),
        files: Vec::new(),
        files_truncated: false,
        diff: None,
        diff_truncated: false,
    };
    let Some(baseline) = baseline else { return Ok(view) };
    let found = Artifacts::find(&baseline)?;
    view.files_truncated = found.truncated;
    view.files = found
        .files
        .iter()
        .map(|file| FileView {
            path: masked(masker, &file.path.to_string_lossy()),
            path_base64: exact(file).filter(|_| masker.is_none_or(|masker| !masker.finds(bytes_of(file)))),
            from: file.from.as_ref().map(|from| masked(masker, &from.to_string_lossy())),
            status: file.status,
            size: file.size,
        })
        .collect();
    if let Some(base) = found.base() {
        view.base = Some(base.to_owned());
        let mut diff = Vec::new();
        let read = found.patch(false, &mut |bytes| {
            diff.extend_from_slice(bytes);
            if diff.len() > MAX_DIFF {
                Err(ArtifactError::ReaderGone)
            } else {
                Ok(())
            }
        });
        match read {
            Ok(()) => {}
            Err(ArtifactError::ReaderGone) => {
                view.diff_truncated = true;
                diff.truncate(MAX_DIFF);
                diff.truncate(memchr::memrchr(b'\n', &diff).map_or(diff.len(), |end| end.saturating_add(1)));
            }
            Err(error) => return Err(error),
        }
        view.diff = Some(masked(masker, &String::from_utf8_lossy(&diff)));
    }
    Ok(view)
}

fn bytes_of(file: &Change) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(file.path.as_os_str())
}

fn exact(file: &Change) -> Option<String> {
    let bytes = bytes_of(file);
    let is_text = std::str::from_utf8(bytes).is_ok();
    (!is_text).then(|| base64::engine::general_purpose::STANDARD.encode(bytes))
}
