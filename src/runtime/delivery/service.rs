//! Delivery of sessions to their sinks.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use crate::runtime::delivery::sinks;
use crate::runtime::launch::catalog;
use crate::runtime::open_files::OpenFiles;
use crate::runtime::platform::machine::Machine;
use crate::runtime::secrets::masks::Masks;
use crate::runtime::session::handle::Session;
use crate::runtime::settings::SettingsStore;
use crate::runtime::signals::Activity;
use promptd_agents::updates::Translation;
use promptd_mask::Masker;
use promptd_model::SessionState;
use promptd_sinks::{Delivery, SessionInfo, Sink, Source};

/// Sees to it that sinks get what they have not had yet.
#[derive(Debug)]
pub(crate) struct SinkDelivery {
    settings: Arc<SettingsStore>,
    machine: Arc<Machine>,
    masks: Arc<Masks>,
    activity: Arc<Activity>,
    delivery: Arc<Delivery>,
}

/// What delivery may know of a session.
#[derive(Debug)]
struct DeliveredSession {
    session: Arc<Session>,
    settings: Arc<SettingsStore>,
    machine: Arc<Machine>,
    masks: Arc<Masks>,
}

impl Source for DeliveredSession {
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
        self.masks.of_session(&self.session)
    }

    fn translation(&self) -> Translation {
        catalog::translation(&self.settings.get(), &self.session, 0)
    }

    fn epoch(&self) -> String {
        self.machine.epoch()
    }
}

impl SinkDelivery {
    pub(crate) fn new(
        settings: Arc<SettingsStore>,
        machine: Arc<Machine>,
        masks: Arc<Masks>,
        activity: Arc<Activity>,
    ) -> Self {
        let connections = OpenFiles::divide(&settings.get().limits).sinks;
        Self {
            settings,
            machine,
            masks,
            activity,
            delivery: Arc::new(Delivery::new(connections)),
        }
    }

    /// Starts delivering what the session's sinks have not had; also where its sinks have changed. Reads the cursor of
    /// each new sink.
    pub(crate) fn deliver(&self, session: &Arc<Session>) {
        let source: Arc<dyn Source> = Arc::new(DeliveredSession {
            session: Arc::clone(session),
            settings: Arc::clone(&self.settings),
            machine: Arc::clone(&self.machine),
            masks: Arc::clone(&self.masks),
        });
        let wanted = || (!session.control.is_deleted()).then(|| self.sinks(session));
        session.sink_workers.update(&self.delivery, &source, wanted);
        self.activity.notify_started();
    }

    /// All sinks of a session: its own, and those of the configuration.
    fn sinks(&self, session: &Session) -> Vec<Sink> {
        // They were checked when they were accepted; a later version may be stricter than the one that accepted them.
        let own = sinks::requested(&session.own_sinks.get()).unwrap_or_else(|error| {
            tracing::error!(session = %session.id(), %error, "the session's sinks cannot be used any more");
            Vec::new()
        });
        own.into_iter().chain(sinks::global(&self.settings.get())).collect()
    }

    /// Has every sink that waits for its next attempt try at once.
    pub(crate) fn retry_now(&self) {
        self.delivery.retry_now();
    }

    /// Connections are dead: the machine was away.
    pub(crate) fn reconnect(&self) {
        self.delivery.reconnect();
    }

    /// Ends when the sinks have what is there, or refuse it; the caller knows how long to wait.
    pub(crate) async fn flush(&self) {
        self.delivery.flush().await;
    }

    /// What was delivered by all sinks, and what was not.
    pub(crate) fn counters(&self) -> &promptd_sinks::Counters {
        self.delivery.counters()
    }
}
