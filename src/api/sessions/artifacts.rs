//! `GET /v1/sessions/{id}/artifacts`: what the turns changed in the working directory.
//!
//! Git and the disk may take their time, so all of it happens on threads that may wait, a few at once. What is long is
//! streamed through a channel of a few blocks; a reader who stalls is hung up on, because a thread waits for it.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::api::Shared;
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, invalid};
use crate::api::sessions::view::time;
use promptd_artifacts::{ArtifactError, Artifacts, Change, Place, Status, write_archive};
use promptd_mask::Masker;

/// More at once would only slow each other, and the agents.
const AT_ONCE: usize = 4;

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// Seconds after which one that did not get it may try again.
const TRY_AGAIN: u64 = 5;

/// A reader that takes nothing for this long is given up.
const STALLED: Duration = Duration::from_secs(30);

/// The most of a patch that a JSON answer carries.
const MOST_DIFF: usize = 1 << 20;

/// A line of a patch that is longer is masked in pieces.
const LONG_LINE: usize = 256 << 10;

/// Blocks between the thread that makes an answer and the connection that takes it.
const BLOCKS: usize = 4;
const BLOCK: usize = 64 << 10;

/// How many look at once.
#[derive(Debug)]
pub(crate) struct Lookers(Arc<Semaphore>);

impl Default for Lookers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Lookers {
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.0).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            let detail = format!("{AT_ONCE} requests for artifacts are at work already; try again later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(TRY_AGAIN)
        })
    }
}

/// What the session's turns changed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Artifacts)]
pub(crate) struct ArtifactsView {
    /// The working directory, to which all paths are relative.
    cwd: String,
    /// The commit that was checked out when the first agent began; null where there was none: then files are listed
    /// by the time of their last change, deletions are not seen, and there is no `diff`.
    base: Option<String>,
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
    status: Status,
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
/// untracked files included, ignored files left out. Elsewhere: the files that changed since.
#[utoipa::path(get, path = "/v1/sessions/{id}/artifacts", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session"),
        ("format" = Option<String>, Query, description = "`json` (when absent), `patch` for `git apply`, or `tar.gz`: the changed files as they are, secrets not masked"),
    ),
    responses(
        (status = 200, description = "The changes", content((ArtifactsView = "application/json"), (String = "text/x-diff"), (String = "application/gzip"))),
        (status = 409, description = "`no_repository`: a patch was asked for, and there is nothing to compare with", body = crate::api::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`artifacts_too_large`: too many files, or too many bytes", body = crate::api::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`busy`, `git_slow`; see `Retry-After`", body = crate::api::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = crate::api::openapi::ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn artifacts(
    State(api): State<Shared>,
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
    let permit = api.lookers.turn().await?;
    let masker = api.runtime.masker(&session);
    let place = api.runtime.artifacts(&session);
    let cwd = session.cwd().display().to_string();
    if format == Format::Json {
        let view = on_a_thread(move || {
            let _permit = permit;
            view(cwd, place, masker.as_deref())
        });
        return Ok(axum::Json(view.await?).into_response());
    }
    let Some(place) = place else {
        if format == Format::Patch {
            return Err(ArtifactError::NoRepository.into());
        }
        return stream_archive(permit, session.cwd().to_owned(), Vec::new(), session.id().as_str());
    };
    let looked = on_a_thread(move || {
        let artifacts = Artifacts::find(&place)?;
        artifacts.check_whole(format == Format::Archive)?;
        if format == Format::Patch && artifacts.base().is_none() {
            return Err(ArtifactError::NoRepository);
        }
        Ok(artifacts)
    });
    let artifacts = looked.await?;
    let id = session.id().as_str();
    if format == Format::Archive {
        return stream_archive(permit, session.cwd().to_owned(), artifacts.files, id);
    }
    let body = streamed(permit, move |pipe| {
        let mut lines = Lines::new(masker);
        artifacts.patch(true, &mut |bytes| lines.take(bytes, pipe))?;
        lines.finish(pipe)
    });
    response(body, "text/x-diff; charset=utf-8", id, "patch")
}

fn stream_archive(
    permit: OwnedSemaphorePermit,
    cwd: std::path::PathBuf,
    files: Vec<Change>,
    id: &str,
) -> Result<Response, Problem> {
    let body = streamed(permit, move |pipe| {
        write_archive(&cwd, &files, io::BufWriter::with_capacity(BLOCK, pipe))
    });
    response(body, "application/gzip", id, "tar.gz")
}

fn response(body: Body, kind: &'static str, id: &str, extension: &str) -> Result<Response, Problem> {
    let mut response = Response::new(body);
    let name = format!("attachment; filename=\"{id}.{extension}\"");
    let name = HeaderValue::try_from(name).map_err(|error| Problem::internal(&error))?;
    let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    response.headers_mut().extend([
        fixed(CONTENT_TYPE, kind),
        (CONTENT_DISPOSITION, name),
        fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(CACHE_CONTROL, "no-store"),
    ]);
    Ok(response)
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(Problem::internal(&panic)),
    }
}

fn view(cwd: String, place: Option<Place>, masker: Option<&Masker>) -> Result<ArtifactsView, ArtifactError> {
    let shown = |text: Cow<'_, str>| masker.map_or_else(|| text.to_string(), |masker| masker.text(&text).into_owned());
    let mut view = ArtifactsView {
        cwd: shown(cwd.into()),
        base: None,
        since: place.as_ref().map(|place| time(place.since)),
        files: Vec::new(),
        files_truncated: false,
        diff: None,
        diff_truncated: false,
    };
    let Some(place) = place else { return Ok(view) };
    let found = Artifacts::find(&place)?;
    view.files_truncated = found.truncated;
    view.files = found
        .files
        .iter()
        .map(|file| FileView {
            path: shown(file.path.to_string_lossy()),
            path_base64: exact(file).filter(|_| masker.is_none_or(|masker| !masker.finds(bytes_of(file)))),
            from: file.from.as_ref().map(|from| shown(from.to_string_lossy())),
            status: file.status,
            size: file.size,
        })
        .collect();
    if let Some(base) = found.base() {
        view.base = Some(base.to_owned());
        let mut diff = Vec::new();
        let read = found.patch(false, &mut |bytes| {
            diff.extend_from_slice(bytes);
            if diff.len() > MOST_DIFF {
                Err(ArtifactError::ReaderGone)
            } else {
                Ok(())
            }
        });
        match read {
            Ok(()) => {}
            Err(ArtifactError::ReaderGone) => {
                view.diff_truncated = true;
                diff.truncate(MOST_DIFF);
                diff.truncate(memchr::memrchr(b'\n', &diff).map_or(diff.len(), |end| end.saturating_add(1)));
            }
            Err(error) => return Err(error),
        }
        view.diff = Some(shown(String::from_utf8_lossy(&diff)));
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

/// A body that a thread makes; it holds its place among those who look until it is done.
fn streamed(
    permit: OwnedSemaphorePermit,
    make: impl FnOnce(&mut Pipe) -> Result<(), ArtifactError> + Send + 'static,
) -> Body {
    let (sender, receiver) = mpsc::channel(BLOCKS);
    let mut pipe = Pipe {
        handle: Handle::current(),
        sender,
    };
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(error) = make(&mut pipe) {
            tracing::warn!(%error, "artifacts break off");
            // The headers are gone; breaking off is the only way to say that it is not whole.
            let _gone = pipe.sender.try_send(Err(io::Error::other(error)));
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        let next = receiver.recv().await?;
        Some((next, receiver))
    }))
}

/// From a thread to a connection.
struct Pipe {
    handle: Handle,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Pipe {
    fn send(&self, bytes: &[u8]) -> Result<(), ArtifactError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let send = self.sender.send(Ok(Bytes::copy_from_slice(bytes)));
        match self
            .handle
            .block_on(async { tokio::time::timeout(STALLED, send).await })
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ArtifactError::ReaderGone),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Masks a text line by line, as it comes: no secret has a newline in it.
struct Lines {
    masker: Option<Arc<Masker>>,
    /// What is not sent yet: the beginning of a line.
    rest: Vec<u8>,
    /// The end of what was sent of that line.
    before: Vec<u8>,
    hidden: bool,
}

impl Lines {
    fn new(masker: Option<Arc<Masker>>) -> Self {
        Self {
            masker,
            rest: Vec::new(),
            before: Vec::new(),
            hidden: false,
        }
    }

    fn take(&mut self, bytes: &[u8], pipe: &Pipe) -> Result<(), ArtifactError> {
        self.mask(bytes).map_or(Ok(()), |shown| pipe.send(&shown))
    }

    fn finish(&mut self, pipe: &Pipe) -> Result<(), ArtifactError> {
        let rest = std::mem::take(&mut self.rest);
        pipe.send(&self.part(&rest, true))
    }

    /// What may be shown by now.
    fn mask(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.rest.extend_from_slice(bytes);
        let whole = memchr::memrchr(b'\n', &self.rest).map(|end| end.saturating_add(1));
        let end = whole.or((self.rest.len() > LONG_LINE).then_some(self.rest.len()))?;
        let ready: Vec<u8> = self.rest.drain(..end).collect();
        Some(self.part(&ready, whole.is_some()))
    }

    fn part(&mut self, bytes: &[u8], ends: bool) -> Vec<u8> {
        let Some(masker) = &self.masker else {
            return bytes.to_vec();
        };
        let shown = masker.chunk(&self.before, self.hidden, bytes, ends);
        let (text, hidden) = (shown.bytes.into_owned(), shown.ends_hidden);
        self.hidden = hidden && !ends;
        self.before.extend_from_slice(bytes);
        let keep = if ends { 0 } else { masker.reach() };
        self.before.drain(..self.before.len().saturating_sub(keep));
        text
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
            ArtifactError::Slow(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "git_slow", detail).retry_after(TRY_AGAIN)
            }
            ArtifactError::Git(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "git_failed", detail),
            ArtifactError::ReaderGone => Self::internal(&detail),
            ArtifactError::Io { source, .. } => crate::api::http::problem::storage(detail, &source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_mask::Secrets;
    use proptest::prelude::*;

    fn masked(text: &[u8], cut: usize) -> Vec<u8> {
        let mut secrets = Secrets::default();
        secrets.add("s3cret-value");
        let mut lines = Lines::new(Masker::new(&secrets).map(Arc::new));
        let mut shown = Vec::new();
        for block in text.chunks(cut) {
            shown.extend(lines.mask(block).unwrap_or_default());
        }
        let rest = std::mem::take(&mut lines.rest);
        shown.extend(lines.part(&rest, true));
        shown
    }

    proptest! {
        #[test]
        fn a_patch_is_masked_the_same_however_it_comes(cut in 1_usize..40) {
            let text = b"+key = s3cret-value\n-s3cret-values3cret-value\n no secret\n+s3cret-value";
            prop_assert_eq!(masked(text, cut), b"+key = ***\n-***\n no secret\n+***");
        }
    }

    #[test]
    fn a_secret_on_the_border_of_a_long_line_is_hidden() {
        let mut text = vec![b'x'; LONG_LINE - 4];
        text.extend_from_slice(b"s3cret-value and more\n");
        let shown = masked(&text, LONG_LINE + 1);
        let tail = shown.get(LONG_LINE - 8..).unwrap();
        assert_eq!(tail, b"xxxx*** and more\n");
    }
}
