//! What the server does: starts, adopts, queues, stops, retries and deletes turns and sessions.
//!
//! Owns the sessions of one home. Promises that an accepted turn is in its journal before the caller gets the answer,
//! that a restart continues where the last server ended, and that one damaged session affects no other. May not know
//! HTTP; never forks (`posix_spawn` only), and waits for no process but those that it started itself.
//!
//! [`Runtime`] only holds the parts together. Each part has its own type and at most one lock of its own, which is never
//! held while another part is called.

mod access;
mod artifacts;
mod blocking;
mod cached_file;
pub mod config;
mod delivery;
mod dialog;
mod error;
mod keeper;
mod launch;
mod lifecycle;
mod open_files;
mod platform;
mod sdk;
mod secrets;
mod session;
mod settings;
mod signals;
mod turn;
mod versioned;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

pub use access::configure::{Configuration, Configured, configured, unusable_reason};
pub use access::envd::EnvdError;
pub use access::token::{Token, opens};
pub use error::RuntimeError;
pub use launch::catalog::{AgentInfo, list as agents};
pub use launch::probe::version;
pub use lifecycle::create::Created;
pub use lifecycle::prompt::{NewPrompt, Prompted};
pub use open_files::OpenFiles;
pub use platform::sandbox_sources::{Sandbox, SandboxSource, is_sandbox};
pub use sdk::Sdk;
pub use secrets::masks::ServerMask;
pub use session::handle::Session;
pub use session::private_home::check_private;
pub use settings::{AuthMode, ConfiguredAgent, Listen, Platform, Settings};

use access::configure::Access;
use access::envd::Envd;
use blocking::run_blocking;
use delivery::service::SinkDelivery;
use delivery::sinks;
use dialog::permissions;
use launch::catalog;
use launch::links::Links;
use launch::probe::Versions;
use lifecycle::admission::Admission;
use lifecycle::create::SessionCreator;
use lifecycle::load::load;
use lifecycle::prompt::Prompter;
use lifecycle::removal::Removal;
use lifecycle::retention::Retention;
use lifecycle::undelivered::Undelivered;
use platform::machine::Machine;
use platform::reaper::reap_orphans;
use platform::resume::ResumeWatch;
use promptd_agents::updates::Translation;
use promptd_artifacts::Baseline;
use promptd_follow::{Follower, Watcher};
use promptd_mask::Masker;
use promptd_model::{AnswerDetails, PermissionAnswer, SdkConfig, SessionId};
use promptd_sinks::{Sink, SinkStatus};
use sdk::SdkStore;
use secrets::masks::Masks;
use session::registry::SessionRegistry;
use session::store::Home;
use settings::SettingsStore;
use signals::{Activity, Shutdown};
use turn::{driver::TurnDriver, parts::TurnParts, queue::TurnQueue, stop};

/// The runtime; one per home.
#[derive(Debug)]
pub struct Runtime {
    settings: Arc<SettingsStore>,
    /// Tokens and agents' variables.
    pub(crate) access: Arc<Access>,
    pub(crate) envd: Envd,
    pub(crate) machine: Arc<Machine>,
    pub(crate) sdk: Arc<SdkStore>,
    pub(crate) masks: Arc<Masks>,
    pub(crate) delivery: Arc<SinkDelivery>,
    pub(crate) sessions: Arc<SessionRegistry>,
    queue: Arc<TurnQueue>,
    watcher: Arc<Watcher>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) creator: SessionCreator,
    pub(crate) prompter: Prompter,
    pub(crate) removal: Arc<Removal>,
    undelivered: Arc<Undelivered>,
    versions: Arc<Versions>,
    pub(crate) shutdown: Arc<Shutdown>,
    started: Instant,
    /// Tasks that end with the runtime.
    background: JoinSet<()>,
}

impl Runtime {
    /// Locks the home, reads its sessions and adopts what a former server left running.
    pub async fn start(settings: Settings) -> Result<Arc<Self>, RuntimeError> {
        let path = settings.home.clone();
        let home = Arc::new(run_blocking(move || Home::open(&path)).await?);
        let links = Arc::new(Links::read(&settings.home));
        let access = Arc::new(Access::new(&settings));
        let sdk = Arc::new(SdkStore::new(&settings.home));
        let queue = TurnQueue::new(settings.limits.running);
        let settings = Arc::new(SettingsStore::new(settings));
        let (activity, shutdown) = (Arc::new(Activity::default()), Arc::new(Shutdown::default()));
        let machine = Arc::new(Machine::new(settings.clone()));
        let masks = Arc::new(Masks::new(settings.clone(), access.clone(), sdk.clone()));
        let envd = Envd::new(settings.clone(), machine.clone(), access.clone(), masks.clone());
        let delivery = SinkDelivery::new(settings.clone(), machine.clone(), masks.clone(), activity.clone());
        let delivery = Arc::new(delivery);
        let watcher = Watcher::start();
        let turns = TurnParts {
            home: Arc::clone(&home),
            settings: settings.clone(),
            access: access.clone(),
            machine: machine.clone(),
            links: links.clone(),
            watcher: watcher.clone(),
        };
        let driver = TurnDriver::new(turns, queue.clone(), delivery.clone(), activity.clone());
        let driver = Arc::new(driver);
        let registry = Arc::new(SessionRegistry::default());
        let admission = Admission::new(
            settings.clone(),
            registry.clone(),
            queue.clone(),
            activity.clone(),
            shutdown.clone(),
        );
        let admission = Arc::new(admission);
        let removal = Arc::new(Removal::new(home.clone(), registry.clone()));
        let undelivered = Undelivered::new(home.clone(), registry.clone(), delivery.clone());
        let undelivered = Arc::new(undelivered);
        let creator = SessionCreator {
            settings: settings.clone(),
            access: access.clone(),
            machine: machine.clone(),
            home: home.clone(),
            registry: registry.clone(),
            admission: admission.clone(),
            driver: driver.clone(),
            delivery: delivery.clone(),
        };
        let prompter = Prompter {
            settings: settings.clone(),
            access: access.clone(),
            admission: admission.clone(),
            driver: driver.clone(),
            delivery: delivery.clone(),
        };
        let retention = Retention {
            settings: settings.clone(),
            machine: machine.clone(),
            registry: registry.clone(),
            removal: removal.clone(),
            undelivered: undelivered.clone(),
            activity: activity.clone(),
            shutdown: shutdown.clone(),
        };
        let resume = ResumeWatch {
            machine: machine.clone(),
            registry: registry.clone(),
            delivery: delivery.clone(),
            activity,
        };
        let path = settings.get().home.clone();
        let unsettled = load_all(path, home, registry.clone(), undelivered.clone());
        driver.adopt(&unsettled.await?);
        let runtime = Self {
            settings,
            access,
            envd,
            machine,
            sdk,
            masks,
            delivery,
            sessions: registry,
            queue,
            watcher,
            admission,
            creator,
            prompter,
            removal,
            undelivered,
            versions: Arc::default(),
            shutdown,
            started: Instant::now(),
            background: JoinSet::new(),
        };
        runtime.begin(links, retention, resume).await
    }

    /// Starts what goes on by itself.
    async fn begin(
        mut self,
        links: Arc<Links>,
        retention: Retention,
        resume: ResumeWatch,
    ) -> Result<Arc<Self>, RuntimeError> {
        // Before anything can be deleted: what a sink has not had is kept.
        let (deliver, registry) = (self.deliver_all(), self.sessions.clone());
        run_blocking(move || {
            deliver();
            let has_turn = |id: &SessionId| {
                let session = registry.get(id.as_str());
                session.is_ok_and(|session| session.state().current().is_some())
            };
            links.retain(has_turn);
            Ok(())
        })
        .await?;
        self.background.spawn(Arc::new(retention).run());
        self.background.spawn(Arc::new(resume).run());
        self.background.spawn(reap_orphans());
        Ok(Arc::new(self))
    }

    /// Delivery for all sessions, as work that may block.
    fn deliver_all(&self) -> impl FnOnce() + Send + 'static {
        let (delivery, registry, undelivered) =
            (self.delivery.clone(), self.sessions.clone(), self.undelivered.clone());
        move || {
            for session in registry.all().iter().chain(&undelivered.all()) {
                delivery.deliver(session);
            }
        }
    }

    /// The settings that are in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// Puts new settings into force; addresses, home and workspace stay.
    pub fn reload(&self, new: Settings) {
        self.queue.set_limit(new.limits.running);
        self.settings.replace(new);
        let (masks, deliver) = (self.masks.clone(), self.deliver_all());
        tokio::task::spawn_blocking(move || {
            masks.refresh_server();
            deliver();
        });
    }

    /// Who gets how many of the files that the server may have open.
    pub fn open_files(&self) -> OpenFiles {
        OpenFiles::divide(&self.settings().limits)
    }

    /// How long this server has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the session's turns and their process trees; answers how many processes survived.
    pub async fn stop(&self, session: &Arc<Session>, grace: Duration) -> Result<u32, RuntimeError> {
        stop::stop(session, grace).await
    }

    /// Ends all turns, for a shutdown that does not leave agents running.
    pub async fn stop_all(&self, grace: Duration) {
        stop::stop_all(self.sessions.all(), grace).await;
    }

    /// Asks the agent to end its turn, and ends those of the `queued` ones that are still queued.
    pub async fn interrupt(&self, session: &Arc<Session>, queued: BTreeSet<u32>) -> Result<(), RuntimeError> {
        stop::interrupt(session, queued, self.has_dialog(session)).await
    }

    /// Ends one turn, whether it runs or waits, and no other one.
    pub async fn cancel(&self, session: &Arc<Session>, turn: u32) -> Result<(), RuntimeError> {
        stop::cancel(session, turn, self.has_dialog(session)).await
    }

    /// Writes to the agent's standard input.
    pub async fn input(&self, session: &Arc<Session>, bytes: &[u8], close: bool) -> Result<(), RuntimeError> {
        stop::input(session, bytes, close, self.has_dialog(session)).await
    }

    fn has_dialog(&self, session: &Session) -> bool {
        catalog::has_dialog(&self.settings(), session)
    }

    /// Answers a question of the session's agent with an option: its id, or its kind.
    pub async fn answer(
        &self,
        session: &Arc<Session>,
        permission: String,
        option: String,
        details: AnswerDetails,
    ) -> Result<PermissionAnswer, RuntimeError> {
        permissions::answer(session, permission, option, details).await
    }

    /// A waiting session's place in the queue, beginning with 1.
    pub fn queue_position(&self, session: &Session) -> Option<usize> {
        self.queue.position(session.id())?.checked_add(1)
    }

    /// A cursor behind the record `after`, which shows no secret.
    pub fn follow(&self, session: &Session, after: u64) -> Result<Follower, RuntimeError> {
        self.follow_masked(session, after, self.masks.of_session(session))
    }

    /// The same with a masker that was made before: secrets may have changed since.
    pub fn follow_masked(
        &self,
        session: &Session,
        after: u64,
        masker: Option<Arc<Masker>>,
    ) -> Result<Follower, RuntimeError> {
        Ok(Follower::open(&self.watcher, &session.folder, after, masker)?)
    }

    /// What translates a session's journal, behind the record `after`, to `view=updates`.
    pub fn translation(&self, session: &Session, after: u64) -> Translation {
        catalog::translation(&self.settings(), session, after)
    }

    /// The name of the format that a session's agent writes; none where its configuration has gone.
    pub fn format(&self, session: &Session) -> Option<&'static str> {
        catalog::format_name(&self.settings(), session)
    }

    /// Where the session's changes are found; nothing before its first agent has started.
    pub fn artifacts(&self, session: &Session) -> Option<Baseline> {
        artifacts::of_session(session, &self.settings().home)
    }

    /// What keeps the server from taking work; nothing, if it is ready.
    pub(crate) async fn problems(&self) -> Vec<String> {
        let admission = self.admission.clone();
        let problems = run_blocking(move || Ok(admission.problems())).await;
        problems.unwrap_or_else(|error| vec![error.to_string()])
    }

    /// Whether an agent can ask for permission.
    pub(crate) fn can_ask(&self, agent: &str) -> bool {
        catalog::find_agent(&self.settings(), agent).is_some_and(|agent| agent.capabilities().permissions)
    }

    /// Whether another session worked in the session's folder at the same time.
    pub fn shares_its_folder(&self, session: &Session) -> bool {
        artifacts::is_shared(session, &self.sessions.all())
    }

    /// All agents, whether they are installed, and what each says of its version; asking can take seconds.
    pub async fn agents_with_versions(&self) -> Vec<(AgentInfo, Option<String>)> {
        catalog::list_with_versions(self.settings(), self.versions.clone()).await
    }

    /// Puts a configuration into force, and keeps it for later servers.
    pub async fn configure(&self, configuration: Configuration) -> Result<Configured, RuntimeError> {
        let access = self.access.clone();
        self.change_secrets(move || access.configure(configuration)).await
    }

    /// Another configuration than before starts a new session with the next message.
    pub async fn configure_sdk(&self, config: SdkConfig) -> Result<(), RuntimeError> {
        let sdk = self.sdk.clone();
        self.change_secrets(move || sdk.configure(config)).await
    }

    /// Makes a session the shared one.
    pub async fn share_sdk_session(&self, session: SessionId) -> Result<(), RuntimeError> {
        let sdk = self.sdk.clone();
        self.change_secrets(move || sdk.share_session(session)).await
    }

    /// Runs a change of the server's secrets; from then on the log hides the new ones, too.
    async fn change_secrets<T: Send + 'static>(
        &self,
        change: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let masks = self.masks.clone();
        run_blocking(move || {
            let changed = change();
            masks.refresh_server();
            changed
        })
        .await
    }

    /// What each sink of a session does.
    pub fn sinks(&self, session: &Session) -> Vec<SinkStatus> {
        session.sink_workers.status(session.state().last_seq)
    }

    /// The sinks of all sessions.
    pub fn global_sinks(&self) -> Vec<Sink> {
        sinks::global(&self.settings())
    }
}

/// Loads what former servers have left; answers the sessions in which something is to be done.
async fn load_all(
    path: PathBuf,
    home: Arc<Home>,
    registry: Arc<SessionRegistry>,
    undelivered: Arc<Undelivered>,
) -> Result<Vec<Arc<Session>>, RuntimeError> {
    run_blocking(move || {
        let unsettled = load(&home, &registry);
        let unsettled = unsettled.and_then(|unsettled| undelivered.load().map(|()| unsettled));
        unsettled.map_err(|source| RuntimeError::Io { path, source })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_runtime_releases_its_home() {
        let home = std::env::temp_dir().join(format!("promptd-runtime-{}", std::process::id()));
        for _server in 0..2 {
            let flags = config::Flags {
                home: Some(home.clone()),
                workspace: Some(home.clone()),
                ..config::Flags::default()
            };
            let settings = config::settings(flags, &config::Environment::new(), None).unwrap();
            drop(Runtime::start(settings).await.unwrap());
            // The tasks of the runtime end at their next step.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::fs::remove_dir_all(home).unwrap();
    }
}
