//! Creating sessions: each once, each on the disk before the caller gets the answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::runtime::access::configure::Access;
use crate::runtime::blocking::run_blocking;
use crate::runtime::delivery::service::SinkDelivery;
use crate::runtime::error::RuntimeError;
use crate::runtime::launch::validate;
use crate::runtime::lifecycle::admission::Admission;
use crate::runtime::lifecycle::own_folder;
use crate::runtime::platform::machine::Machine;
use crate::runtime::session::handle::Session;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::session::store::{Home, SessionFile};
use crate::runtime::settings::{Settings, SettingsStore};
use crate::runtime::turn::driver::TurnDriver;
use promptd_model::{Body, PermissionMode, PromptContent, SessionId, SessionRequest};
use promptd_sys as sys;

/// The answer to a request to create a session.
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

/// What creates sessions.
#[derive(Debug)]
pub(crate) struct SessionCreator {
    pub settings: Arc<SettingsStore>,
    pub access: Arc<Access>,
    pub machine: Arc<Machine>,
    pub home: Arc<Home>,
    pub registry: Arc<SessionRegistry>,
    pub admission: Arc<Admission>,
    pub driver: Arc<TurnDriver>,
    pub delivery: Arc<SinkDelivery>,
}

impl SessionCreator {
    /// Creates a session; `key` is the caller's `Idempotency-Key`.
    pub(crate) async fn create(
        &self,
        mut request: SessionRequest,
        key: Option<String>,
    ) -> Result<Created, RuntimeError> {
        let prompt = request.prompt.take();
        loop {
            let session = match self.registry.find(request.id.as_ref(), key.as_deref())? {
                Some(session) => session,
                None => match self.reserve(&request, prompt.as_ref(), key.as_deref()).await? {
                    Ok(session) if self.make_own_folder(&session).await? => return self.finish(session, prompt).await,
                    Ok(_) => continue,
                    // Another request with the same key or id was faster.
                    Err(session) => session,
                },
            };
            // That one may still be at work, and may fail; then it is our turn.
            if session.wait_until_created().await {
                return run_blocking(move || repeat(session, &request, prompt.as_ref(), key.is_some())).await;
            }
        }
    }

    /// Checks the request, and takes the id and the key for its session; gives the session that has one of them.
    async fn reserve(
        &self,
        request: &SessionRequest,
        prompt: Option<&PromptContent>,
        key: Option<&str>,
    ) -> Result<Result<Arc<Session>, Arc<Session>>, RuntimeError> {
        let settings = self.settings.get();
        let request = with_defaults(request, &settings);
        let id = request.id.clone().map_or_else(new_id, Ok)?;
        let (access, admission) = (Arc::clone(&self.access), Arc::clone(&self.admission));
        let (checked, prompt, own_id) = (request.clone(), prompt.cloned(), id.clone());
        // It looks at PATH, at folders and at the disk.
        let (agent, own_folder) = run_blocking(move || {
            let has_prompt = prompt.is_some();
            let prompt = prompt.unwrap_or_else(|| String::new().into());
            let own_folder = own_folder::choose(&settings.workspace, &own_id);
            let agent = validate::check(&settings, &access.variables(), &checked, &own_folder, &prompt)?;
            admission.check(has_prompt)?;
            Ok((agent, own_folder))
        })
        .await?;
        let key = key.map(str::to_owned);
        let own_folder = request.wants_own_folder().then_some(own_folder);
        let mut file = SessionFile::new(id, Timestamp::now(), agent, key, request);
        file.own_folder = own_folder;
        file.sandbox = self.machine.sandbox().await.map(|sandbox| sandbox.id);
        Ok(self.registry.reserve(self.home.session(&file.id), file))
    }

    /// Makes the folder of a reserved session that wants one; false, and no session, if something else has its name by now.
    async fn make_own_folder(&self, session: &Arc<Session>) -> Result<bool, RuntimeError> {
        let Some(folder) = session.own_folder().map(Path::to_owned) else {
            return Ok(true);
        };
        let made = run_blocking(move || own_folder::make(&folder)).await;
        if !matches!(made, Ok(true)) {
            self.give_up(session);
        }
        made
    }

    /// Nobody finds the session any more; who waits for it may create it.
    fn give_up(&self, session: &Session) {
        self.registry.remove(session.id());
        session.finish_creation(false);
    }

    /// Puts a reserved session on the disk, and starts its first turn.
    async fn finish(&self, session: Arc<Session>, prompt: Option<PromptContent>) -> Result<Created, RuntimeError> {
        let turn = prompt.as_ref().map(|_| 1);
        let written = self.write(&session, prompt).await;
        if written.is_err() {
            self.give_up(&session);
        }
        written?;
        session.finish_creation(true);
        self.delivery.deliver(&session);
        if turn.is_some() {
            self.driver.drive(&session);
        }
        let (after, new) = (0, true);
        Ok(Created {
            session,
            turn,
            after,
            new,
        })
    }

    /// Writes the first prompt, then `session.json`, which is what makes the session accepted.
    async fn write(&self, session: &Arc<Session>, prompt: Option<PromptContent>) -> Result<(), RuntimeError> {
        let (home, session) = (Arc::clone(&self.home), Arc::clone(session));
        run_blocking(move || {
            let failed = |source| RuntimeError::Io {
                path: session.folder.clone(),
                source,
            };
            let write = || {
                home.make_folder(session.id()).map_err(failed)?;
                if let Some(prompt) = prompt {
                    let body = Body::Prompt(prompt.into());
                    session.journal.transact(move |_| (vec![(1, body)], ()))?;
                }
                home.accept(&session.file).map_err(failed)
            };
            let written = write();
            if let (Err(_), Some(folder)) = (&written, session.own_folder()) {
                own_folder::discard(folder);
            }
            written
        })
        .await
    }
}

/// The request with defaults that must not change while the session lives.
fn with_defaults(request: &SessionRequest, settings: &Settings) -> SessionRequest {
    let mut request = request.clone();
    if settings.default_permission != PermissionMode::default() {
        request.permission.get_or_insert(settings.default_permission);
    }
    request
}

fn new_id() -> Result<SessionId, RuntimeError> {
    let random = sys::random_bytes().map_err(|source| RuntimeError::Io {
        path: PathBuf::from("/dev/urandom"),
        source,
    })?;
    let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    Ok(SessionId::from_time_and_random(millis, &random))
}

/// The same request again gives the same session; another one under the same key or id is refused.
fn repeat(
    session: Arc<Session>,
    request: &SessionRequest,
    prompt: Option<&PromptContent>,
    by_key: bool,
) -> Result<Created, RuntimeError> {
    let state = session.refresh()?;
    let first = state.turns.first();
    let first = first.map(|turn| session.journal.read_prompt(turn)).transpose()?;
    let asked = SessionRequest {
        id: session.request().id.clone(),
        // What it did not say was a default, which may have changed.
        permission: request.permission.or(session.request().permission),
        ..request.clone()
    };
    let other_id = request.id.as_ref().is_some_and(|id| id != session.id());
    // A session made without a prompt may have been given one later.
    let same_prompt = prompt.is_none_or(|prompt| first.is_some_and(|first| first.says(prompt)));
    if asked == *session.request() && same_prompt && !other_id {
        return Ok(Created {
            session,
            turn: prompt.map(|_| 1),
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
