//! What the server does: starts, adopts, queues, stops and forgets turns (interface; the bodies are being written).

pub mod config;
mod error;
mod settings;

use std::sync::Arc;
use std::time::Duration;

pub use error::RuntimeError;
pub use settings::{AuthMode, ConfiguredAgent, Listen, PromptBy, Settings};

use crate::journal::Follower;
use crate::model::{SessionId, SessionRequest, SessionState};

/// The runtime; one per home.
#[derive(Debug)]
pub struct Runtime {}

/// A session.
#[derive(Debug)]
pub struct Session {}

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
    pub path: Option<std::path::PathBuf>,
    /// The command that installs it.
    pub install: Option<String>,
    /// From the configuration.
    pub configured: bool,
    /// Can follow-up prompts resume its session?
    pub resume: bool,
    /// What is missing, in a sentence.
    pub missing: Option<String>,
}

#[allow(clippy::unused_async, clippy::missing_panics_doc, clippy::unimplemented, unused_variables, missing_docs, reason = "interface draft")]
impl Runtime {
    pub async fn start(settings: Settings) -> Result<Arc<Self>, RuntimeError> { unimplemented!() }
    pub fn settings(&self) -> Arc<Settings> { unimplemented!() }
    /// `key` is the caller's `Idempotency-Key`.
    pub async fn create(self: &Arc<Self>, request: SessionRequest, key: Option<String>) -> Result<Created, RuntimeError> { unimplemented!() }
    pub async fn prompt(self: &Arc<Self>, session: &Arc<Session>, text: String, key: Option<String>) -> Result<Prompted, RuntimeError> { unimplemented!() }
    pub fn session(&self, id: &str) -> Result<Arc<Session>, RuntimeError> { unimplemented!() }
    /// Newest first.
    pub fn sessions(&self) -> Vec<Arc<Session>> { unimplemented!() }
    pub async fn delete(&self, session: &Arc<Session>) -> Result<(), RuntimeError> { unimplemented!() }
    /// Ends the turn and its tree; answers the number of survivors.
    pub async fn stop(&self, session: &Arc<Session>, grace: Duration) -> Result<u32, RuntimeError> { unimplemented!() }
    pub async fn interrupt(&self, session: &Arc<Session>) -> Result<(), RuntimeError> { unimplemented!() }
    pub async fn input(&self, session: &Arc<Session>, bytes: &[u8], close: bool) -> Result<(), RuntimeError> { unimplemented!() }
    pub fn follow(&self, session: &Session, after: u64) -> Result<Follower, RuntimeError> { unimplemented!() }
    pub fn agents(&self) -> Vec<AgentInfo> { unimplemented!() }
    pub fn epoch(&self) -> String { unimplemented!() }
    pub fn uptime(&self) -> Duration { unimplemented!() }
    /// Problems that keep the server from taking work (`GET /readyz`); empty means ready.
    pub fn problems(&self) -> Vec<String> { unimplemented!() }
    /// Becomes true when the server shuts down: streams end, new requests get 503.
    pub fn shutdown(&self) -> tokio::sync::watch::Receiver<bool> { unimplemented!() }
    pub fn begin_shutdown(&self) { unimplemented!() }
}

#[allow(clippy::unimplemented, missing_docs, clippy::missing_panics_doc, reason = "interface draft")]
impl Session {
    pub fn id(&self) -> &SessionId { unimplemented!() }
    pub fn created_at(&self) -> jiff::Timestamp { unimplemented!() }
    pub fn request(&self) -> &SessionRequest { unimplemented!() }
    /// The agent's name, after defaults.
    pub fn agent(&self) -> &str { unimplemented!() }
    pub fn cwd(&self) -> &std::path::Path { unimplemented!() }
    pub fn state(&self) -> Arc<SessionState> { unimplemented!() }
    pub fn queue_position(&self) -> Option<usize> { unimplemented!() }
}
