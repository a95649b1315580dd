//! Which sinks a session has, and what delivery sees of it.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use crate::runtime::{Runtime, RuntimeError, Session, Settings, on_a_thread};
use promptd_agents::updates::Translation;
use promptd_mask::Masker;
use promptd_model::{SessionState, SinkRequest};
use promptd_sinks::{Scope, SessionInfo, Sink, SinkStatus, Source};

/// A session, as delivery sees it.
#[derive(Debug)]
struct Delivered {
    runtime: Arc<Runtime>,
    session: Arc<Session>,
}

impl Source for Delivered {
    fn info(&self) -> SessionInfo {
        let session = &self.session;
        let agent_id = session.request().metadata.get("agentId").and_then(Value::as_str);
        SessionInfo {
            session: session.id().to_string(),
            agent: session.agent().to_owned(),
            agent_id: agent_id.unwrap_or(session.agent()).to_owned(),
            model: session.request().model.clone(),
            created_at: session.created_at(),
            sandbox: session.file.sandbox.clone(),
        }
    }

    fn folder(&self) -> &Path {
        &self.session.folder
    }

    fn changes(&self) -> watch::Receiver<Arc<SessionState>> {
        self.session.changes()
    }

    fn is_at_rest(&self) -> bool {
        self.session.is_at_rest()
    }

    fn masker(&self) -> Option<Arc<Masker>> {
        self.runtime.masker(&self.session)
    }

    fn translation(&self) -> Translation {
        self.runtime.translation(&self.session, 0)
    }

    fn epoch(&self) -> String {
        self.runtime.epoch()
    }
}

/// The sinks that a request asks for.
pub(super) fn requested(sinks: &[SinkRequest]) -> Result<Vec<Sink>, RuntimeError> {
    Sink::all(sinks, Scope::Session).map_err(|(place, error)| RuntimeError::InvalidSink {
        field: format!("sinks[{place}].{}", error.field),
        problem: error.problem,
    })
}

/// The sinks of all sessions.
pub(super) fn global(settings: &Settings) -> Vec<Sink> {
    // They were checked when the configuration was read.
    Sink::all(&settings.sinks, Scope::Global).unwrap_or_default()
}

/// All sinks of a session: its own, and those of the configuration.
pub(super) fn sinks(settings: &Settings, session: &Session) -> Vec<Sink> {
    // They were checked when they were accepted; a later version may be stricter than the one that accepted them.
    let own = requested(&session.own_sinks()).unwrap_or_else(|error| {
        tracing::error!(session = %session.id(), %error, "the session's sinks cannot be used any more");
        Vec::new()
    });
    own.into_iter().chain(global(settings)).collect()
}

impl Runtime {
    /// Sees to it that the session's sinks get what they have not had yet.
    pub(super) fn deliver(self: &Arc<Self>, session: &Arc<Session>) {
        let source: Arc<dyn Source> = Arc::new(Delivered {
            runtime: Arc::clone(self),
            session: Arc::clone(session),
        });
        let wanted = || (!session.duties().deleted).then(|| sinks(&self.settings(), session));
        session.sink_workers.update(&self.delivery, &source, wanted);
        self.stirs.notify_one();
    }

    /// Gives a session a sink, in the place of one of the same kind that has no name either.
    pub async fn put_sink(self: &Arc<Self>, session: &Arc<Session>, sink: SinkRequest) -> Result<(), RuntimeError> {
        let (runtime, session) = (Arc::clone(self), Arc::clone(session));
        on_a_thread(move || {
            let known = session.own_sinks();
            if known.contains(&sink) {
                return Ok(());
            }
            let others = known
                .iter()
                .filter(|other| other.kind != sink.kind || other.name.is_some());
            let sinks: Vec<_> = others.cloned().chain([sink.clone()]).collect();
            requested(&sinks)?;
            session.put_sinks(sinks).map_err(|source| RuntimeError::Io {
                path: session.folder.clone(),
                source,
            })?;
            runtime.deliver(&session);
            Ok(())
        })
        .await
    }

    /// The same for all sessions; reads the cursor of each sink that is new, so that it belongs on a thread.
    pub(super) fn deliver_all(self: &Arc<Self>) {
        let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for session in self.sessions().iter().chain(&forgotten) {
            self.deliver(session);
        }
    }

    /// Has every sink that waits for its next attempt try at once.
    pub fn deliver_now(&self) {
        self.delivery.retry_now();
    }

    /// Ends when the sinks have what is there, or refuse it; the caller knows how long to wait.
    pub async fn flush(&self) {
        self.delivery.flush().await;
    }

    /// The sinks of all sessions.
    pub fn global_sinks(&self) -> Vec<Sink> {
        global(&self.settings())
    }

    /// What each sink of a session does.
    pub fn sinks(&self, session: &Session) -> Vec<SinkStatus> {
        session.sink_workers.status(session.state().last_seq)
    }

    /// What was delivered by all sinks, and what was not.
    pub fn delivered(&self) -> &promptd_sinks::Counters {
        self.delivery.counters()
    }
}
