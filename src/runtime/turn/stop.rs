//! Ending turns and forgetting sessions, on a caller's behalf.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::launch::prepare;
use crate::runtime::launch::prepare::INTERRUPT_GRACE;
use crate::runtime::session::Session;
use crate::runtime::turn::driver::cancelled;
use crate::runtime::turn::keeper_client;
use crate::runtime::turn::supervisor::Tender;
use crate::runtime::{Runtime, RuntimeError};
use promptd_keeper::Request;
use promptd_model::{Body, Cause, SessionId, SessionState, StdinMode, TurnPhase};

/// How much longer than the grace a keeper may take: its sweeps, and five seconds for processes that hang.
const KEEPER_SLACK: Duration = Duration::from_secs(8);

/// How long a turn that is just being started may take until it can be ended.
const STARTING: Duration = Duration::from_secs(15);

/// A session that is deleted right after its end may have its last batch just under way.
const LAST_BATCH: Duration = Duration::from_secs(5);

impl Runtime {
    /// Ends the session's turns, queued ones too, and their whole process trees, leftovers too; answers how many
    /// processes survived.
    pub async fn stop(&self, session: &Arc<Session>, grace: Duration) -> Result<u32, RuntimeError> {
        // The wish first, which needs no disk: nothing starts, and nothing is tried again, whatever comes now.
        let state = session.refresh().unwrap_or_else(|_| session.state());
        let last = state.next_turn().saturating_sub(1);
        session.duties().ended = Some((last, Cause::Stopped));
        let cancelled = cancel_waiting(session, Cause::Stopped, |_| true).await;
        let tenders: Vec<_> = session.duties().tenders.values().cloned().collect();
        let request = Request::Stop {
            grace: grace.as_secs_f64(),
            cause: Some(Cause::Stopped),
        };
        let mut survivors = 0_u32;
        for tender in tenders {
            survivors = survivors.saturating_add(end_tree(session, &tender, &request, grace).await?);
        }
        let mut changes = session.changes();
        session.refresh()?;
        // Written by the driver as soon as it sees the exit.
        let ended = changes.wait_for(|state| state.current().is_none() || survivors > 0);
        let _late = tokio::time::timeout(KEEPER_SLACK, ended).await;
        cancelled.map(|()| survivors)
    }

    /// Asks the agent to end this turn, and ends those of the `queued` ones that still are; the session is kept.
    pub async fn interrupt(&self, session: &Arc<Session>, queued: BTreeSet<u32>) -> Result<(), RuntimeError> {
        let state = session.refresh()?;
        let turn = state
            .current()
            .map(|turn| turn.turn)
            .ok_or_else(|| RuntimeError::NotRunning {
                id: session.id().to_string(),
            })?;
        session.duties().ended = Some((turn, Cause::Interrupted));
        let wanted = move |waits: u32| waits == turn || queued.contains(&waits);
        cancel_waiting(session, Cause::Interrupted, wanted).await?;
        let Some(tender) = session.duties().tenders.get(&turn).cloned() else {
            return Ok(());
        };
        let state = session.refresh()?;
        let agent_runs = state.turn(turn).is_some_and(|turn| turn.setup.is_none());
        if agent_runs && self.converses(session) {
            // Told in its own protocol, by whoever talks with it.
            session.stirred.notify_one();
        } else {
            end_later(session, &tender, Some(Cause::Interrupted), INTERRUPT_GRACE);
        }
        Ok(())
    }

    /// Whether we talk with the session's agent ourselves.
    fn converses(&self, session: &Session) -> bool {
        prepare::agent(&self.settings(), session.agent()).is_some_and(|agent| prepare::converses(&agent, session))
    }

    /// Writes to the agent's standard input.
    pub async fn input(&self, session: &Arc<Session>, bytes: &[u8], close: bool) -> Result<(), RuntimeError> {
        let id = session.id().to_string();
        if self.converses(session) {
            return Err(RuntimeError::Conversation { id });
        }
        if session.request().stdin != Some(StdinMode::Open) {
            return Err(RuntimeError::StdinClosed { id });
        }
        let state = session.refresh()?;
        let turn = state
            .current()
            .filter(|turn| turn.phase == TurnPhase::Running)
            .map(|turn| turn.turn);
        let tender = turn.and_then(|turn| session.duties().tenders.get(&turn).cloned());
        let (Some(turn), Some(tender)) = (turn, tender) else {
            return Err(RuntimeError::NotRunning { id });
        };
        let request = Request::Input {
            length: promptd_model::len64(bytes),
            close,
            at: None,
        };
        let response = keeper_client::ask(&tender.paths, &request, bytes, Duration::from_hours(1)).await;
        let response = response.map_err(|_| RuntimeError::KeeperSilent { id: id.clone(), turn })?;
        if response.error.is_some() {
            return Err(RuntimeError::StdinClosed { id });
        }
        if close {
            tender.release_stdin();
        }
        Ok(())
    }

    /// Stops what runs, then forgets the session and its journal.
    pub async fn delete(&self, session: &Arc<Session>) -> Result<(), RuntimeError> {
        session.duties().deleted = true;
        let deleted = self.delete_now(session).await;
        if deleted.is_err() {
            // It is still there, then, and may go on.
            session.duties().deleted = false;
        }
        deleted
    }

    async fn delete_now(&self, session: &Arc<Session>) -> Result<(), RuntimeError> {
        match self.stop(session, Duration::ZERO).await {
            // A full disk, or a journal that cannot be read any more, is a reason to delete, not one against it.
            Err(RuntimeError::Write(_) | RuntimeError::Read(_)) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        let tenders: Vec<_> = session.duties().tenders.values().cloned().collect();
        for tender in tenders {
            // A process that cannot be killed keeps its keeper, but not its session.
            let _gone = tokio::time::timeout(KEEPER_SLACK, tender.gone()).await;
        }
        let last_seq = session.refresh().map_or(0, |state| state.last_seq);
        session.sink_workers.wait_delivered(last_seq, LAST_BATCH).await;
        session.sink_workers.close();
        let gone = self.home.delete(session.id());
        gone.map_err(|source| {
            let path = session.folder.clone();
            RuntimeError::Io { path, source }
        })?;
        self.forget(session);
        Ok(())
    }

    /// Forgets a session whose folder cannot be read; nothing can run in it.
    pub fn delete_damaged(&self, id: &str) -> Result<(), RuntimeError> {
        let id: SessionId = id
            .parse()
            .map_err(|_| RuntimeError::SessionNotFound { id: id.to_owned() })?;
        let path = self.home.session(&id);
        self.home
            .delete(&id)
            .map_err(|source| RuntimeError::Io { path, source })?;
        self.no_longer_damaged(&id);
        Ok(())
    }

    /// Ends all turns, for a shutdown that does not leave agents running.
    pub async fn stop_all(&self, grace: Duration) {
        let stops = self
            .sessions()
            .into_iter()
            .filter(|session| session.duties().driven || !session.duties().tenders.is_empty());
        let stops: Vec<_> = stops
            .map(|session| async move { self.stop(&session, grace).await })
            .collect();
        for stopped in futures_util::future::join_all(stops).await {
            if let Err(error) = stopped {
                tracing::error!(%error, "a session could not be stopped");
            }
        }
    }
}

/// Ends those of the wanted turns that have no process yet. A turn that is just being started is waited for, since its
/// process cannot be called back.
async fn cancel_waiting(
    session: &Arc<Session>,
    cause: Cause,
    wanted: impl Fn(u32) -> bool + Send + 'static,
) -> Result<(), RuntimeError> {
    let mut changes = session.changes();
    let told = session
        .transact(move |session, state| {
            let starting = session.duties().starting;
            let waiting = state
                .turns
                .iter()
                .filter(|turn| turn.is_waiting() && starting != Some(turn.turn));
            let waiting = waiting.filter(|turn| wanted(turn.turn));
            let ends: Vec<(u32, Body)> = waiting.map(|turn| (turn.turn, cancelled(cause))).collect();
            (ends, ())
        })
        .await;
    let starting = session.duties().starting;
    let Some(turn) = starting else { return told };
    let known = |state: &Arc<SessionState>| state.turn(turn).is_none_or(|turn| !turn.is_waiting());
    let _late = tokio::time::timeout(STARTING, changes.wait_for(known)).await;
    told
}

/// The same as [`end_tree`], for whoever has nothing to wait for.
pub(crate) fn end_later(session: &Arc<Session>, tender: &Arc<Tender>, cause: Option<Cause>, grace: Duration) {
    let (session, tender) = (Arc::clone(session), Arc::clone(tender));
    let request = Request::Stop {
        grace: grace.as_secs_f64(),
        cause,
    };
    tokio::spawn(async move {
        if let Err(error) = end_tree(&session, &tender, &request, grace).await {
            tracing::warn!(session = %session.id(), %error, "an agent could not be ended");
        }
    });
}

/// Has a keeper take its tree down; one that does not answer is replaced, and its successor asked.
pub(crate) async fn end_tree(
    session: &Session,
    tender: &Tender,
    request: &Request,
    grace: Duration,
) -> Result<u32, RuntimeError> {
    let patience = grace + KEEPER_SLACK;
    for attempt in 0..20_u32 {
        tokio::select! {
            answer = keeper_client::ask(&tender.paths, request, &[], patience) => match answer {
                Ok(response) => return Ok(response.survivors.unwrap_or(0)),
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => tender.replace_keeper(),
                // Not there yet, or not there any more: its successor is being started.
                Err(_) => tokio::time::sleep(Duration::from_millis(20 << attempt.min(5))).await,
            },
            // The tree has gone by itself.
            () = tender.gone() => return Ok(0),
        }
    }
    let turn = session.state().current().map_or(0, |turn| turn.turn);
    Err(RuntimeError::KeeperSilent {
        id: session.id().to_string(),
        turn,
    })
}
