//! What the server does: starts, adopts, queues, stops, tries again and forgets turns.
//!
//! Owns the sessions of one home. Promises that an accepted turn is in its journal before the caller hears of
//! it, that a restart goes on where the last server ended, and that one damaged session costs no other. It may
//! not know HTTP; it never forks (`posix_spawn` only) and waits for no process but those it started itself.

mod access;
mod artifacts;
pub mod config;
mod delivery;
mod dialog;
mod error;
mod launch;
mod platform;
mod sdk;
mod secrets;
mod session;
mod settings;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

pub use access::configure::{Configuration, Configured, configured};
pub use access::envd::EnvdError;
pub use access::tokens::{Token, opens};
pub use error::RuntimeError;
pub use launch::prepare::list as agents;
pub use launch::probe::version;
pub use platform::identity::{Sandbox, Witness, is_sandbox};
pub use sdk::Sdk;
pub use secrets::masks::ServerMask;
pub use session::Session;
pub use session::create::{Created, Prompted};
pub use settings::{AuthMode, ConfiguredAgent, Listen, Platform, PromptBy, Settings};

use access::{envd, environment, tokens};
use launch::{links, prepare as launcher, probe};
use platform::{epoch, identity, resume};
use promptd_agents::updates::Translation;
use promptd_agents::{Capabilities, Evidence};
use promptd_follow::{Follower, Watcher};
use promptd_mask::Masker;
use promptd_model::{SessionId, TurnPhase};
use promptd_sinks::Delivery;
use secrets::masks;
use session::store::Home;
use session::{retention, store};
use turn::queue::{Place, Queue};
use turn::{driver, keeper_client};

/// The runtime; one per home.
#[derive(Debug)]
pub struct Runtime {
    settings: RwLock<Arc<Settings>>,
    home: Home,
    watcher: Arc<Watcher>,
    tokens: tokens::Tokens,
    environment: environment::Environment,
    /// Held by whoever changes tokens or the environment.
    configuring: Mutex<()>,
    sdk: sdk::SdkFile,
    envd: envd::Envd,
    masks: masks::Masks,
    links: Arc<links::Links>,
    queue: Arc<Queue>,
    sessions: RwLock<Sessions>,
    delivery: Arc<Delivery>,
    epoch: epoch::Epoch,
    identity: identity::Identity,
    versions: probe::Versions,
    started: Instant,
    /// What is left of sessions that were given up before every sink had them.
    forgotten: Mutex<Vec<Arc<Session>>>,
    /// A session has come to rest: perhaps something can be forgotten.
    at_rest: Arc<Notify>,
    /// Something goes on by itself from now on: the clocks are looked at.
    stirs: Arc<Notify>,
    shutdown: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: BTreeMap<SessionId, Arc<Session>>,
    /// Which session an `Idempotency-Key` made.
    by_key: BTreeMap<String, SessionId>,
    /// Folders that could not be read, and why.
    damaged: BTreeMap<String, String>,
}

/// An agent, as `GET /v1/agents` shows it.
#[derive(Clone, Debug)]
pub struct AgentInfo {
    /// Its name.
    pub name: String,
    /// Its program, when it is installed.
    pub path: Option<PathBuf>,
    /// The command that installs it.
    pub install: Option<String>,
    /// From the configuration.
    pub configured: bool,
    /// How we know it; `None` for one from the configuration.
    pub evidence: Option<Evidence>,
    /// What a request may ask of it.
    pub capabilities: Capabilities,
    /// What is missing, in a sentence.
    pub missing: Option<String>,
}

impl Runtime {
    /// Takes the home, reads its sessions and adopts what a former server left running.
    pub async fn start(settings: Settings) -> Result<Arc<Self>, RuntimeError> {
        let path = settings.home.clone();
        let home = tokio::task::spawn_blocking(move || Home::open(&path))
            .await
            .map_err(|_| RuntimeError::ShuttingDown)??;
        let (shutdown, _) = watch::channel(false);
        let links = Arc::new(links::Links::of(&settings.home));
        let runtime = Arc::new(Self {
            delivery: Arc::default(),
            epoch: epoch::Epoch::of(&settings.home, settings.platform.clone()),
            identity: identity::Identity::default(),
            versions: probe::Versions::default(),
            queue: Queue::new(settings.limits.running),
            settings: RwLock::new(Arc::new(settings)),
            home,
            watcher: Watcher::start(),
            tokens: tokens::Tokens::default(),
            environment: environment::Environment::default(),
            configuring: Mutex::default(),
            sdk: sdk::SdkFile::default(),
            envd: envd::Envd::default(),
            masks: masks::Masks::default(),
            links,
            sessions: RwLock::default(),
            started: Instant::now(),
            forgotten: Mutex::default(),
            at_rest: Arc::default(),
            stirs: Arc::default(),
            shutdown,
        });
        runtime.load().await?;
        tokio::spawn(retention::keep_within_limits(Arc::downgrade(&runtime)));
        tokio::spawn(resume::watch(Arc::downgrade(&runtime)));
        Ok(runtime)
    }

    async fn load(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let runtime = Arc::clone(self);
        let load = move || -> std::io::Result<Vec<Arc<Session>>> {
            let mut unsettled = Vec::new();
            for folder in runtime.home.sessions()? {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match store::read(&folder) {
                    Ok(file) => unsettled.extend(runtime.know(Arc::new(Session::new(folder, file)))),
                    // A server was killed before it had accepted the session: nobody was told of it.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => store::remove(&folder),
                    Err(error) => runtime.is_damaged(name, &error.to_string()),
                }
            }
            runtime.load_forgotten()?;
            Ok(unsettled)
        };
        let path = self.settings().home.clone();
        let loaded = tokio::task::spawn_blocking(load)
            .await
            .map_err(|_| RuntimeError::ShuttingDown)?;
        let mut unsettled = loaded.map_err(|source| RuntimeError::Io { path, source })?;
        // Who waited before waits in the same order again.
        unsettled.sort_by_key(|session| session.state().current().map(|turn| turn.accepted_at));
        // All adopted ones take their places before anybody who waits is let in.
        let places: Vec<_> = unsettled
            .iter()
            .map(|session| runs(session).then(|| self.queue.adopt()))
            .collect();
        for (session, place) in unsettled.iter().zip(places) {
            driver::adopt(self, session);
            self.drive(session, place);
        }
        // Before anything can be forgotten: what a sink has not had is kept.
        let runtime = Arc::clone(self);
        on_a_thread(move || {
            runtime.deliver_all();
            let runs = |id: &SessionId| {
                let session = runtime.session(id.as_str());
                session.is_ok_and(|session| session.state().current().is_some())
            };
            runtime.links.keep_for(runs);
            Ok(())
        })
        .await
    }

    /// Registers a session that was found on the disk; gives it back when there is something to do for it.
    fn know(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        if let Err(error) = session.refresh() {
            self.is_damaged(session.id().to_string(), &format!("{}: {}", error, error.source));
            return None;
        }
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &session.file.idempotency_key {
            sessions.by_key.insert(key.clone(), session.id().clone());
        }
        session.set_made(true);
        sessions.by_id.insert(session.id().clone(), Arc::clone(&session));
        let busy = session.state().current().is_some() || !keeper_client::turns_with_files(&session.folder).is_empty();
        busy.then_some(session)
    }

    fn is_damaged(&self, name: String, reason: &str) {
        tracing::error!(
            session = name,
            reason,
            "a session is damaged; the others are not affected"
        );
        self.sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .damaged
            .insert(name, reason.to_owned());
    }

    /// Sees to it that somebody drives the session.
    fn drive(self: &Arc<Self>, session: &Arc<Session>, place: Option<Place>) {
        let mut duties = session.duties();
        if duties.driven || duties.deleted {
            return;
        }
        duties.driven = true;
        self.stirs.notify_one();
        // Lined up here and now, so that the order of the queue is the order of acceptance.
        let state = session.state();
        let waits = state.current().is_some_and(|turn| turn.phase == TurnPhase::Queued);
        let ticket = waits.then(|| self.queue.line_up(session.id().clone()));
        tokio::spawn(driver::drive(Arc::clone(self), Arc::clone(session), ticket, place));
    }

    /// The settings that are in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts new settings into force; where we listen and live stays as it is.
    pub fn reload(self: &Arc<Self>, new: Settings) {
        let old = self.settings();
        let (home, listen, workspace) = (old.home.clone(), old.listen.clone(), old.workspace.clone());
        self.queue.set_limit(new.limits.running);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Settings {
            listen,
            home,
            workspace,
            ..new
        });
        let runtime = Arc::clone(self);
        tokio::task::spawn_blocking(move || runtime.deliver_all());
    }

    /// A session by its id.
    pub fn session(&self, id: &str) -> Result<Arc<Session>, RuntimeError> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = sessions.damaged.get(id) {
            return Err(RuntimeError::SessionDamaged {
                id: id.to_owned(),
                reason: reason.clone(),
            });
        }
        let session = id
            .parse()
            .ok()
            .and_then(|id: SessionId| sessions.by_id.get(&id).cloned())
            .filter(|session| session.was_made());
        session.ok_or_else(|| RuntimeError::SessionNotFound {
            id: id.chars().take(200).collect(),
        })
    }

    /// All sessions, newest first.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let made = sessions.by_id.values().filter(|session| session.was_made());
        let mut all: Vec<_> = made.cloned().collect();
        drop(sessions);
        all.sort_by(|a, b| (b.created_at(), b.id()).cmp(&(a.created_at(), a.id())));
        all
    }

    fn any_session(&self, what: impl Fn(&Arc<Session>) -> bool) -> bool {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.by_id.values().any(what)
    }

    /// A waiting session's place in the queue, beginning with 1.
    pub fn queue_position(&self, session: &Session) -> Option<usize> {
        self.queue.position(session.id())?.checked_add(1)
    }

    /// A cursor behind the record `after`, which shows no secret.
    pub fn follow(&self, session: &Session, after: u64) -> Result<Follower, RuntimeError> {
        self.follow_masked(session, after, self.masker(session))
    }

    /// The same with a masker that [`Runtime::masker`] gave before: secrets may have changed since.
    pub fn follow_masked(
        &self,
        session: &Session,
        after: u64,
        masker: Option<Arc<Masker>>,
    ) -> Result<Follower, RuntimeError> {
        Ok(Follower::open(&self.watcher, &session.folder, after, masker)?)
    }

    /// What puts a session's journal behind the record `after` into the words of `view=updates`.
    pub fn translation(&self, session: &Session, after: u64) -> Translation {
        let permission = session.request().permission.unwrap_or_default();
        let agent = launcher::agent(&self.settings(), session.agent());
        Translation::new(agent.and_then(|agent| agent.translator(permission)), after)
    }

    /// The name of what a session's agent writes; none where its configuration has gone.
    pub fn format(&self, session: &Session) -> Option<&'static str> {
        let permission = session.request().permission.unwrap_or_default();
        let agent = launcher::agent(&self.settings(), session.agent())?;
        Some(agent.format(permission).name)
    }

    /// The tokens that open the API now.
    pub fn tokens(&self) -> Arc<[Token]> {
        self.tokens.current(&self.settings())
    }

    /// All agents, and whether they are installed.
    pub fn agents(&self) -> Vec<AgentInfo> {
        launcher::list(&self.settings())
    }

    /// The same, with what each installed agent says of its version; asking can take seconds.
    pub async fn agents_with_versions(self: &Arc<Self>) -> Vec<(AgentInfo, Option<String>)> {
        let runtime = Arc::clone(self);
        let ask = move || {
            let agents = runtime.agents();
            // What an unknown program makes of `--version` cannot be known.
            let known = |agent: &AgentInfo| agent.path.clone().filter(|_| !agent.configured);
            let versions = runtime.versions.of(&agents.iter().map(known).collect::<Vec<_>>());
            agents.into_iter().zip(versions).collect()
        };
        tokio::task::spawn_blocking(ask).await.unwrap_or_default()
    }

    /// The epoch: another after a reboot, a clone or a resume, the same after a restart of the server.
    pub fn epoch(&self) -> String {
        self.epoch.get()
    }

    /// The epoch, if anybody has needed it yet: who only asks after our health does not.
    pub fn known_epoch(&self) -> Option<String> {
        self.epoch.known()
    }

    /// Since when this server runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What keeps the server from taking work; nothing, if it is ready.
    pub fn problems(&self) -> Vec<String> {
        let settings = self.settings();
        let mut problems = Vec::new();
        for (what, path) in [("home", &settings.home), ("workspace", &settings.workspace)] {
            let made = std::fs::create_dir_all(path);
            let writable = made.and_then(|()| Ok(nix::unistd::access(path, nix::unistd::AccessFlags::W_OK)?));
            problems.extend(
                writable
                    .err()
                    .map(|error| format!("the {what} {} is not writable: {error}", path.display())),
            );
        }
        problems.extend(self.check_room(false).err().map(|error| error.to_string()));
        if self.agents().iter().all(|agent| agent.path.is_none()) {
            problems.push("no agent is installed; `promptd doctor` tells how to install one".to_owned());
        }
        problems
    }

    /// Becomes true when the server shuts down.
    pub fn shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Ends streams and refuses new work; agents go on.
    pub fn begin_shutdown(&self) {
        self.shutdown.send_replace(true);
    }
}

/// Runs what may wait, for a disk or a lock, on a thread of its own.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    // A thread that panicked, or was never started, is a server at its end.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| RuntimeError::ShuttingDown)?
}

/// Whether a session has a turn that has begun and not ended.
fn runs(session: &Session) -> bool {
    let state = session.state();
    state.current().is_some_and(|turn| turn.phase != TurnPhase::Queued)
}
