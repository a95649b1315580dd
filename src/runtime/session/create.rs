//! Accepting work: sessions and prompts, each once, each on the disk before the caller hears of it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;

use crate::runtime::launch::prepare;
use crate::runtime::launch::validate;
use crate::runtime::session::store::SessionFile;
use crate::runtime::{Runtime, RuntimeError, Session, Settings, on_a_thread};
use promptd_model::{Body, PermissionMode, Prompt, SessionId, SessionRequest, SessionState, TurnState};
use promptd_sys as sys;

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

/// What became of a wish for an id and a key.
enum Reserved {
    New(Created),
    Taken(Arc<Session>),
}

/// The request with what it leaves to the configuration, where that must not change while the session lives.
fn with_defaults(request: &SessionRequest, settings: &Settings) -> SessionRequest {
    let mut request = request.clone();
    if settings.default_permission != PermissionMode::default() {
        request.permission.get_or_insert(settings.default_permission);
    }
    request
}

impl Runtime {
    /// Creates a session; `key` is the caller's `Idempotency-Key`.
    pub async fn create(
        self: &Arc<Self>,
        mut request: SessionRequest,
        key: Option<String>,
    ) -> Result<Created, RuntimeError> {
        let prompt = request.prompt.take();
        loop {
            let session = match self.known(&request, key.as_deref())? {
                Some(session) => session,
                None => match self.try_create(&request, prompt.as_deref(), key.as_deref()).await? {
                    Reserved::New(created) => return Ok(created),
                    // Somebody with the same key or id was faster.
                    Reserved::Taken(session) => session,
                },
            };
            // The other one may still be at it, and may fail; then it is our turn.
            if session.is_made().await {
                return Self::same(session, &request, prompt.as_deref(), key.is_some());
            }
        }
    }

    async fn try_create(
        self: &Arc<Self>,
        request: &SessionRequest,
        prompt: Option<&str>,
        key: Option<&str>,
    ) -> Result<Reserved, RuntimeError> {
        let settings = self.settings();
        let request = &with_defaults(request, &settings);
        let (agent, cwd) = validate::check(&settings, &self.variables(), request, prompt.unwrap_or_default())?;
        self.check_room(prompt.is_some())?;
        let id = match request.id.clone() {
            Some(id) => id,
            None => Self::new_id()?,
        };
        let key = key.map(str::to_owned);
        let mut file = SessionFile::new(id, Timestamp::now(), (agent, cwd), key, request.clone());
        file.sandbox = self.sandbox().await.map(|sandbox| sandbox.id);
        let session = match self.reserve(file) {
            Ok(session) => session,
            Err(other) => return Ok(Reserved::Taken(other)),
        };
        let made = self.make(&session, prompt.map(str::to_owned)).await;
        if made.is_err() {
            self.forget(&session);
        }
        session.set_made(made.is_ok());
        made?;
        self.deliver(&session);
        let turn = prompt.map(|_| 1);
        if turn.is_some() {
            self.drive(&session, None);
        }
        let (after, new) = (0, true);
        Ok(Reserved::New(Created {
            session,
            turn,
            after,
            new,
        }))
    }

    /// Puts a session on the disk with its first prompt; `session.json` comes last, and is what makes it accepted.
    async fn make(self: &Arc<Self>, session: &Arc<Session>, prompt: Option<String>) -> Result<(), RuntimeError> {
        let (runtime, session) = (Arc::clone(self), Arc::clone(session));
        on_a_thread(move || {
            let path = session.folder.clone();
            let failed = |source| RuntimeError::Io { path, source };
            if let Err(error) = runtime.home.begin(session.id()) {
                return Err(failed(error));
            }
            if let Some(text) = prompt {
                let idempotency_key = None;
                let body = Body::Prompt(Prompt { text, idempotency_key });
                session.transact_here(move |_, _| (vec![(1, body)], ()))?;
            }
            runtime.home.accept(&session.file).map_err(failed)
        })
        .await
    }

    fn known(&self, request: &SessionRequest, key: Option<&str>) -> Result<Option<Arc<Session>>, RuntimeError> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let by_key = key.and_then(|key| sessions.by_id.get(sessions.by_key.get(key)?));
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
            .map(|turn| prepare::read_prompt(&session, turn))
            .transpose()?;
        let asked = SessionRequest {
            id: session.request().id.clone(),
            // What it did not say was a default, which may be another by now.
            permission: request.permission.or(session.request().permission),
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

    /// Takes the id and the key for a session; gives the one that has them, if there is one.
    fn reserve(&self, file: SessionFile) -> Result<Arc<Session>, Arc<Session>> {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        let key = file.idempotency_key.clone();
        let by_key = key
            .as_ref()
            .and_then(|key| sessions.by_id.get(sessions.by_key.get(key)?));
        if let Some(session) = by_key.or_else(|| sessions.by_id.get(&file.id)) {
            return Err(Arc::clone(session));
        }
        let session = Arc::new(Session::new(self.home.session(&file.id), file));
        sessions.by_id.insert(session.id().clone(), Arc::clone(&session));
        if let Some(key) = key {
            sessions.by_key.insert(key, session.id().clone());
        }
        Ok(session)
    }

    pub(crate) fn forget(&self, session: &Session) {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        sessions.by_id.remove(session.id());
        sessions.by_key.retain(|_, id| id != session.id());
    }

    pub(crate) fn no_longer_damaged(&self, id: &SessionId) {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        sessions.damaged.remove(id.as_str());
    }

    fn new_id() -> Result<SessionId, RuntimeError> {
        let random = sys::random_bytes().map_err(|source| RuntimeError::Io {
            path: PathBuf::from("/dev/urandom"),
            source,
        })?;
        let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        Ok(SessionId::from_time_and_random(millis, &random))
    }

    /// Refuses work that there is no room for.
    pub(crate) fn check_room(&self, with_prompt: bool) -> Result<(), RuntimeError> {
        if *self.shutdown.borrow() {
            return Err(RuntimeError::ShuttingDown);
        }
        let settings = self.settings();
        let limits = &settings.limits;
        let space = sys::disk_space(&settings.home).map_err(|source| RuntimeError::Io {
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

    /// Turns that wait for a place, and turns behind another one of their own session.
    fn queued_turns(&self) -> usize {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let driven = sessions.by_id.values().filter(|session| session.duties().driven);
        let behind = |state: &SessionState| {
            let open = state.turns.iter().filter(|turn| turn.ended().is_none()).count();
            open.saturating_sub(1)
        };
        let behind: usize = driven.map(|session| behind(&session.state())).sum();
        behind.saturating_add(self.queue.waiting())
    }

    /// Accepts the next turn of a session.
    pub async fn prompt(
        self: &Arc<Self>,
        session: &Arc<Session>,
        text: String,
        key: Option<String>,
    ) -> Result<Prompted, RuntimeError> {
        let known = |state: &SessionState| {
            let key = key.as_ref()?;
            let mut turns = state.turns.iter();
            turns.find(|turn| turn.idempotency_key.as_ref() == Some(key)).cloned()
        };
        // A repetition is no new work: it is answered even where there is no room for any.
        if let Some(turn) = known(&session.state()) {
            return Self::same_prompt(session, &turn, &text);
        }
        validate::check(
            &self.settings(),
            &self.variables(),
            &SessionRequest {
                agent: Some(session.agent().to_owned()),
                ..session.request().clone()
            },
            &text,
        )?;
        self.check_room(true)?;
        let idempotency_key = key.clone();
        let prompted = session.transact(move |session, state| {
            let same_key =
                |turn: &&Arc<TurnState>| turn.idempotency_key.is_some() && turn.idempotency_key == idempotency_key;
            if let Some(turn) = state.turns.iter().find(same_key) {
                return (Vec::new(), Self::same_prompt(session, turn, &text));
            }
            if session.duties().deleted {
                let id = session.id().to_string();
                return (Vec::new(), Err(RuntimeError::SessionNotFound { id }));
            }
            let (turn, after) = (state.next_turn(), state.last_seq);
            let body = Body::Prompt(Prompt { text, idempotency_key });
            (vec![(turn, body)], Ok(Prompted { turn, after, new: true }))
        });
        let prompted = prompted.await??;
        self.drive(session, None);
        self.deliver(session);
        Ok(prompted)
    }

    /// The same prompt again gives the same turn; another one under its key is refused.
    fn same_prompt(session: &Session, turn: &TurnState, text: &str) -> Result<Prompted, RuntimeError> {
        if prepare::read_prompt(session, turn)? == text {
            let after = turn.prompt_seq.saturating_sub(1);
            return Ok(Prompted {
                turn: turn.turn,
                after,
                new: false,
            });
        }
        let what = "the Idempotency-Key".to_owned();
        Err(RuntimeError::Conflict { what })
    }
}
