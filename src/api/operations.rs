//! What callers of all protocols do with sessions and turns.
//!
//! Promises that an operation runs to completion, also when the caller hangs up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::http::problem::Problem;
use crate::api::state::AppState;
use crate::runtime::{Created, NewPrompt, Prompted, RuntimeError, Session};
use promptd_model::{AnswerDetails, PermissionAnswer, SessionRequest};

/// Seconds between asking an agent to end and killing it, when the caller does not say.
const DEFAULT_GRACE: f64 = 5.0;

/// The most seconds a caller may have a stop wait.
const MAX_GRACE: f64 = 600.0;

/// Runs to completion, also when the caller hangs up.
pub(crate) async fn complete<T: Send + 'static>(
    work: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(Problem::internal(&panic)),
    }
}

impl AppState {
    pub(crate) async fn create(&self, request: SessionRequest, key: Option<String>) -> Result<Created, Problem> {
        self.check_rate()?;
        let runtime = Arc::clone(&self.runtime);
        let secret = SessionRequest {
            env: request.env.clone(),
            repo: request.repo.clone(),
            sinks: request.sinks.clone(),
            mcp_servers: request.mcp_servers.clone(),
            mask: request.mask,
            ..SessionRequest::default()
        };
        let created = complete(async move { runtime.creator.create(request, key).await }).await;
        // A refusal may quote a secret of the request, and there is no session yet whose masker knows it.
        created.map_err(|problem| problem.masked(self.runtime.masks.of_request(&secret).as_deref()))
    }

    pub(crate) async fn delete(&self, id: String) -> Result<(), Problem> {
        let runtime = Arc::clone(&self.runtime);
        complete(async move {
            match runtime.sessions.get(&id) {
                Ok(session) => runtime.removal.delete(&session).await,
                Err(RuntimeError::SessionDamaged { .. } | RuntimeError::SessionNewer { .. }) => {
                    runtime.removal.delete_damaged(&id).await
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(crate) async fn prompt(
        &self,
        session: &Arc<Session>,
        prompt: impl Into<NewPrompt>,
        key: Option<String>,
    ) -> Result<Prompted, Problem> {
        self.check_rate()?;
        let (runtime, session, prompt) = (Arc::clone(&self.runtime), Arc::clone(session), prompt.into());
        complete(async move { runtime.prompter.prompt(&session, prompt, key).await }).await
    }

    /// Interrupts the running turn, and ends those of the `queued` turns that still wait.
    pub(crate) async fn interrupt(&self, session: &Arc<Session>, queued: BTreeSet<u32>) -> Result<(), Problem> {
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        complete(async move { runtime.interrupt(&session, queued).await }).await
    }

    /// The same, where a turn that has ended by itself is as good as an interrupted one.
    pub(crate) async fn interrupt_if_running(
        &self,
        session: &Arc<Session>,
        queued: BTreeSet<u32>,
    ) -> Result<(), Problem> {
        match self.interrupt(session, queued).await {
            Err(problem) if problem.code() != "not_running" => Err(problem),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The same for a session by its id, also for one that cannot be used: its processes must not be out of reach.
    pub(crate) async fn stop_by_id(&self, id: String, grace: Option<f64>) -> Result<u32, Problem> {
        match self.runtime.sessions.get(&id) {
            Err(RuntimeError::SessionDamaged { .. } | RuntimeError::SessionNewer { .. }) => {
                parse_grace(grace)?;
                let runtime = Arc::clone(&self.runtime);
                complete(async move { runtime.removal.stop_damaged(&id).await }).await
            }
            session => self.stop(&session?, grace).await,
        }
    }

    /// Ends one turn, and no other one.
    pub(crate) async fn cancel(&self, session: &Arc<Session>, turn: u32) -> Result<(), Problem> {
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        complete(async move { runtime.cancel(&session, turn).await }).await
    }

    /// Returns how many processes could not be ended.
    pub(crate) async fn stop(&self, session: &Arc<Session>, grace: Option<f64>) -> Result<u32, Problem> {
        let grace = parse_grace(grace)?;
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        complete(async move { runtime.stop(&session, grace).await }).await
    }

    pub(crate) async fn input(&self, session: &Arc<Session>, bytes: Bytes, close: bool) -> Result<(), Problem> {
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        complete(async move { runtime.input(&session, &bytes, close).await }).await
    }

    pub(crate) async fn answer_permission(
        &self,
        session: &Arc<Session>,
        permission: String,
        option: String,
        details: AnswerDetails,
    ) -> Result<PermissionAnswer, Problem> {
        let (runtime, session) = (Arc::clone(&self.runtime), Arc::clone(session));
        complete(async move { runtime.answer(&session, permission, option, details).await }).await
    }
}

fn parse_grace(seconds: Option<f64>) -> Result<Duration, Problem> {
    let seconds = seconds.unwrap_or(DEFAULT_GRACE);
    let grace = Duration::try_from_secs_f64(seconds).ok();
    grace.filter(|_| seconds <= MAX_GRACE).ok_or_else(|| {
        let detail = format!("grace is {seconds}; it must be 0 to {MAX_GRACE} seconds");
        Problem::bad_request("invalid_field", detail).with("field", "grace")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_is_0_to_600_seconds() {
        assert_eq!(parse_grace(None).unwrap(), Duration::from_secs(5));
        assert_eq!(parse_grace(Some(0.25)).unwrap(), Duration::from_millis(250));
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 601.0] {
            assert_eq!(parse_grace(Some(wrong)).unwrap_err().code(), "invalid_field");
        }
    }
}
