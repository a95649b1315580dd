//! What the server does: starts, adopts, queues, stops, tries again and forgets turns.
//!
//! Owns the sessions of one home. Promises that an accepted turn is in its journal before the caller hears of
//! it, that a restart goes on where the last server ended, and that one damaged session costs no other. It may
//! not know HTTP; it never forks and never waits for a process that is not its own keeper.

pub mod config;
mod driver;
mod epoch;
mod error;
mod keeper_client;
mod launch;
mod observe;
mod queue;
mod retention;
mod session;
mod settings;
mod stop;
mod store;
mod tender;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

pub use error::RuntimeError;
pub use session::Session;
pub use settings::{AuthMode, ConfiguredAgent, Listen, PromptBy, Settings};

use crate::agents::Capabilities;
use crate::journal::{Follower, Watcher};
use crate::model::{Body, Prompt, SessionId, SessionRequest, SessionState, TurnPhase, TurnState};
use crate::sys;
use queue::Queue;
use session::Birth;
use store::{Home, SessionFile};

/// The runtime; one per home.
#[derive(Debug)]
pub struct Runtime {
    settings: RwLock<Arc<Settings>>,
    home: Home,
    watcher: Arc<Watcher>,
    queue: Arc<Queue>,
    sessions: RwLock<Sessions>,
    epoch: epoch::Epoch,
    looking: retention::Looking,
    started: Instant,
    shutdown: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: BTreeMap<SessionId, Arc<Session>>,
    /// Which session an `Idempotency-Key` made; `None` while it is being made.
    by_key: BTreeMap<String, Option<SessionId>>,
    /// Folders that could not be read, and why.
    damaged: BTreeMap<String, String>,
}

/// What a request to create gave.
#[derive(Debug)]
pub struct Created {
    /// The session.
    pub session: Arc<Session>,
    /// Its first turn, when the request had a prompt.
    pub turn: Option<u32>,
    /// The `seq` before that turn's `prompt` record: where its event stream begins.
    pub after: u64,
    /// False when the same request had been made before.
    pub new: bool,
}

/// What a prompt gave.
#[derive(Clone, Copy, Debug)]
pub struct Prompted {
    /// The turn.
    pub turn: u32,
    /// The `seq` before its `prompt` record.
    pub after: u64,
    /// False when the same request had been made before.
    pub new: bool,
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
    /// What a request may ask of it.
    pub capabilities: Capabilities,
    /// What is missing, in a sentence.
    pub missing: Option<String>,
}

/// Whether a turn waits for its place.
fn waits(turn: Option<&TurnState>) -> bool {
    turn.is_some_and(|turn| turn.phase == TurnPhase::Queued)
}

impl Runtime {
    /// Takes the home, reads its sessions and adopts what a former server left running.
    pub async fn start(settings: Settings) -> Result<Arc<Self>, RuntimeError> {
        let path = settings.home.clone();
        let home = tokio::task::spawn_blocking(move || Home::open(&path))
            .await
            .map_err(|_| RuntimeError::ShuttingDown)??;
        let (shutdown, _) = watch::channel(false);
        let runtime = Arc::new(Self {
            epoch: epoch::Epoch::of(&settings.home),
            queue: Queue::new(settings.limits.running),
            settings: RwLock::new(Arc::new(settings)),
            home,
            watcher: Watcher::start(),
            sessions: RwLock::default(),
            looking: retention::Looking::default(),
            started: Instant::now(),
            shutdown,
        });
        runtime.load().await?;
        Ok(runtime)
    }

    async fn load(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let runtime = Arc::clone(self);
        let load = move || -> std::io::Result<Vec<Arc<Session>>> {
            let mut unsettled = Vec::new();
            for folder in runtime.home.sessions()? {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match store::read(&folder) {
                    Ok(file) => unsettled.extend(runtime.know(Arc::new(Session::new(folder, file, Birth::Done)))),
                    // A server that was killed while it made the session: nobody was told of it.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => runtime.is_damaged(name, &error.to_string()),
                }
            }
            Ok(unsettled)
        };
        let path = self.settings().home.clone();
        let loaded = tokio::task::spawn_blocking(load)
            .await
            .map_err(|_| RuntimeError::ShuttingDown)?;
        let mut unsettled = loaded.map_err(|source| RuntimeError::Io { path, source })?;
        // Who runs keeps its place; who waited before waits in the same order again.
        unsettled.sort_by_key(|session| {
            let state = session.state();
            let turn = state.current();
            (waits(turn), turn.map(|turn| turn.accepted_at))
        });
        for session in unsettled {
            self.adopt(&session).await;
        }
        Ok(())
    }

    /// Registers a session that was found on the disk; gives it back when there is something to do for it.
    fn know(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        if let Err(error) = session.refresh() {
            self.is_damaged(session.id().to_string(), &format!("{}: {}", error, error.source));
            return None;
        }
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &session.file.idempotency_key {
            sessions.by_key.insert(key.clone(), Some(session.id().clone()));
        }
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

    async fn adopt(self: &Arc<Self>, session: &Arc<Session>) {
        let running = session
            .state()
            .current()
            .filter(|turn| turn.phase == TurnPhase::Running)
            .map(|turn| turn.turn);
        if let Some(turn) = running {
            let epoch = self.epoch();
            let paths = crate::keeper::TurnPaths::new(&session.folder, turn);
            let lost_keeper = keeper_client::ask(&paths, &crate::keeper::Request::Status, &[], Duration::from_secs(2))
                .await
                .is_err();
            let recovered = session.transact(move |_, _| (vec![(turn, Body::Recovered { epoch, lost_keeper })], ()));
            if let Err(error) = recovered.await {
                tracing::error!(session = %session.id(), %error, "an adopted session cannot be written to");
            }
        }
        driver::adopt(self, session);
        self.drive(session);
    }

    /// Sees to it that somebody drives the session.
    fn drive(self: &Arc<Self>, session: &Arc<Session>) {
        let mut duties = session.duties();
        if duties.driven || duties.deleted {
            return;
        }
        duties.driven = true;
        // Here and now, so that the order of the queue is the order of acceptance, and nobody gets the place of a
        // turn that runs already.
        let state = session.state();
        let turn = state.current();
        let ticket = waits(turn).then(|| self.queue.line_up(session.id().clone()));
        let place = (turn.is_some() && ticket.is_none()).then(|| self.queue.adopt());
        tokio::spawn(driver::drive(Arc::clone(self), Arc::clone(session), ticket, place));
    }

    /// The settings that are in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts new settings into force; where we listen and live stays as it is.
    pub fn reload(&self, new: Settings) {
        let old = self.settings();
        let (home, listen, workspace) = (old.home.clone(), old.listen.clone(), old.workspace.clone());
        self.queue.set_limit(new.limits.running);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Settings {
            home,
            listen,
            workspace,
            ..new
        });
    }

    /// Creates a session; `key` is the caller's `Idempotency-Key`.
    pub async fn create(
        self: &Arc<Self>,
        mut request: SessionRequest,
        key: Option<String>,
    ) -> Result<Created, RuntimeError> {
        let settings = self.settings();
        let prompt = request.prompt.take();
        let session = loop {
            if let Some(known) = self.known(&request, key.as_deref())? {
                if known.born().await {
                    return Self::same(known, &request, prompt.as_deref(), key.is_some());
                }
                // It could not be made and was forgotten, so this request is the first now.
                continue;
            }
            let (agent, cwd) = launch::check(&settings, &request, prompt.as_deref().unwrap_or_default())?;
            self.check_room(prompt.is_some())?;
            let id = match request.id.clone() {
                Some(id) => id,
                None => self.new_id()?,
            };
            let file = SessionFile::new(id, Timestamp::now(), (agent, cwd), key.clone(), request.clone());
            // None: somebody with the same key or id was faster, and is known now.
            if let Some(session) = self.reserve(file, key.as_deref()) {
                break session;
            }
        };
        let made = self.make(&session, prompt).await;
        let turn = made.inspect_err(|_| {
            self.forget(&session);
            session.set_birth(Birth::Failed);
        })?;
        session.set_birth(Birth::Done);
        if turn.is_some() {
            self.drive(&session);
        }
        Ok(Created {
            session,
            turn,
            after: 0,
            new: true,
        })
    }

    /// Puts a session on the disk, with its first prompt.
    async fn make(
        self: &Arc<Self>,
        session: &Arc<Session>,
        prompt: Option<String>,
    ) -> Result<Option<u32>, RuntimeError> {
        let (runtime, file, folder) = (Arc::clone(self), session.file.clone(), session.folder.clone());
        let made = tokio::task::spawn_blocking(move || runtime.home.create(&file)).await;
        made.map_err(|_| RuntimeError::ShuttingDown)?
            .map_err(|source| RuntimeError::Io { path: folder, source })?;
        let Some(text) = prompt else { return Ok(None) };
        let body = Body::Prompt(Prompt {
            text,
            idempotency_key: None,
        });
        session.transact(move |_, _| (vec![(1, body)], Some(1))).await
    }

    fn known(&self, request: &SessionRequest, key: Option<&str>) -> Result<Option<Arc<Session>>, RuntimeError> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let by_key = key
            .and_then(|key| sessions.by_key.get(key))
            .and_then(|id| sessions.by_id.get(id.as_ref()?));
        let by_id = request.id.as_ref().and_then(|id| sessions.by_id.get(id));
        if let Some(id) = request
            .id
            .as_ref()
            .filter(|id| sessions.damaged.contains_key(id.as_str()))
        {
            let reason = sessions.damaged.get(id.as_str()).cloned().unwrap_or_default();
            return Err(RuntimeError::SessionDamaged {
                id: id.to_string(),
                reason,
            });
        }
        Ok(by_key.or(by_id).cloned())
    }

    /// The same request again gives the same session; another one under the same key or id is refused.
    fn same(
        session: Arc<Session>,
        request: &SessionRequest,
        prompt: Option<&str>,
        by_key: bool,
    ) -> Result<Created, RuntimeError> {
        let state = session.refresh()?;
        let turn = prompt.map(|_| 1);
        let first = state
            .turns
            .first()
            .map(|turn| launch::read_prompt(&session, turn))
            .transpose()?;
        let asked = SessionRequest {
            id: session.request().id.clone(),
            ..request.clone()
        };
        let other_id = request.id.as_ref().is_some_and(|id| id != session.id());
        // A session made without a prompt may have been given one later.
        let same_prompt = prompt.is_none() || first.as_deref() == prompt;
        if asked == *session.request() && same_prompt && !other_id {
            return Ok(Created {
                session,
                turn,
                after: 0,
                new: false,
            });
        }
        let what = if by_key {
            "the Idempotency-Key".to_owned()
        } else {
            format!("the id {:?}", session.id().as_str())
        };
        Err(RuntimeError::Conflict { what })
    }

    fn reserve(&self, file: SessionFile, key: Option<&str>) -> Option<Arc<Session>> {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        let taken = key
            .and_then(|key| sessions.by_key.get(key))
            .and_then(|id| sessions.by_id.get(id.as_ref()?));
        if taken.is_some() || sessions.by_id.contains_key(&file.id) {
            return None;
        }
        let session = Arc::new(Session::new(self.home.session(&file.id), file, Birth::Underway));
        sessions.by_id.insert(session.id().clone(), Arc::clone(&session));
        if let Some(key) = key {
            sessions.by_key.insert(key.to_owned(), Some(session.id().clone()));
        }
        Some(session)
    }

    fn forget(&self, session: &Session) {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        sessions.by_id.remove(session.id());
        sessions.by_key.retain(|_, id| id.as_ref() != Some(session.id()));
        sessions.damaged.remove(session.id().as_str());
    }

    fn new_id(&self) -> Result<SessionId, RuntimeError> {
        let random = sys::random().map_err(|source| RuntimeError::Io {
            path: PathBuf::from("/dev/urandom"),
            source,
        })?;
        let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        Ok(SessionId::from_time_and_random(millis, &random))
    }

    /// Refuses work that there is no room for.
    fn check_room(&self, with_prompt: bool) -> Result<(), RuntimeError> {
        if *self.shutdown.borrow() {
            return Err(RuntimeError::ShuttingDown);
        }
        let settings = self.settings();
        let limits = &settings.limits;
        let space = sys::space(&settings.home).map_err(|source| RuntimeError::Io {
            path: settings.home.clone(),
            source,
        })?;
        if space.free < limits.min_free_bytes {
            return Err(RuntimeError::DiskFull {
                free: space.free,
                min_free: limits.min_free_bytes,
            });
        }
        if with_prompt && self.queued_turns() >= limits.queued {
            return Err(RuntimeError::QueueFull {
                queued: limits.queued,
                retry_after: 5,
            });
        }
        Ok(())
    }

    /// Turns that wait for a place, and turns behind a running one of their own session.
    fn queued_turns(&self) -> usize {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let driven = sessions.by_id.values().filter(|session| session.duties().driven);
        let queued = |state: &SessionState| {
            state
                .turns
                .iter()
                .filter(|turn| turn.phase == TurnPhase::Queued)
                .count()
        };
        driven.map(|session| queued(&session.state())).sum()
    }

    /// Accepts the next turn of a session.
    pub async fn prompt(
        self: &Arc<Self>,
        session: &Arc<Session>,
        text: String,
        key: Option<String>,
    ) -> Result<Prompted, RuntimeError> {
        launch::check(
            &self.settings(),
            &SessionRequest {
                agent: Some(session.agent().to_owned()),
                ..session.request().clone()
            },
            &text,
        )?;
        self.check_room(true)?;
        let prompted = session.transact(move |session, state| {
            let before = key.as_ref().and_then(|key| {
                state
                    .turns
                    .iter()
                    .find(|turn| turn.idempotency_key.as_ref() == Some(key))
            });
            if let Some(turn) = before {
                let same = launch::read_prompt(session, turn).is_ok_and(|before| before == text);
                let prompted = Prompted {
                    turn: turn.turn,
                    after: turn.prompt_seq.saturating_sub(1),
                    new: false,
                };
                return (Vec::new(), same.then_some(prompted));
            }
            let (turn, after) = (state.next_turn(), state.last_seq);
            let body = Body::Prompt(Prompt {
                text,
                idempotency_key: key,
            });
            (vec![(turn, body)], Some(Prompted { turn, after, new: true }))
        });
        let prompted = prompted.await?.ok_or_else(|| RuntimeError::Conflict {
            what: "the Idempotency-Key".to_owned(),
        })?;
        self.drive(session);
        Ok(prompted)
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
            .filter(|session| session.is_born());
        session.ok_or_else(|| RuntimeError::SessionNotFound {
            id: id.chars().take(200).collect(),
        })
    }

    /// All sessions, newest first.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let born = sessions.by_id.values().filter(|session| session.is_born());
        let mut all: Vec<_> = born.cloned().collect();
        drop(sessions);
        all.sort_by(|a, b| (b.created_at(), b.id()).cmp(&(a.created_at(), a.id())));
        all
    }

    /// A waiting session's place in the queue, beginning with 1.
    pub fn queue_position(&self, session: &Session) -> Option<usize> {
        self.queue.position(session.id())?.checked_add(1)
    }

    /// A cursor behind the record `after`.
    pub fn follow(&self, session: &Session, after: u64) -> Result<Follower, RuntimeError> {
        Ok(Follower::open(&self.watcher, &session.folder, after)?)
    }

    /// All agents, and whether they are installed.
    pub fn agents(&self) -> Vec<AgentInfo> {
        launch::list(&self.settings())
    }

    /// The epoch: another after a reboot, a clone or a resume, the same after a restart of the server.
    pub fn epoch(&self) -> String {
        self.epoch.get()
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
