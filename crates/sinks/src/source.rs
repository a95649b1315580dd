//! A session, as sinks see it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use promptd_agents::updates::Translation;
use promptd_mask::Masker;
use promptd_model::SessionState;

/// What messages say about a session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its id.
    pub session: String,
    /// The agent's name.
    pub agent: String,
    /// The agent's id: `metadata.agentId` if the caller gave one, otherwise the agent's name.
    pub agent_id: String,
    /// The requested model.
    pub model: Option<String>,
    /// When the session was accepted.
    pub created_at: Timestamp,
    /// The sandbox in which it was accepted, if known.
    pub sandbox: Option<String>,
}

/// A session whose journal is delivered.
pub trait Source: std::fmt::Debug + Send + Sync {
    /// What messages say about it.
    fn info(&self) -> SessionInfo;

    /// Its folder.
    fn folder(&self) -> &Path;

    /// Its state, and notifications of changes.
    fn changes(&self) -> watch::Receiver<Arc<SessionState>>;

    /// Whether no more records are written until a caller asks for something.
    fn is_at_rest(&self) -> bool;

    /// The masker for its records.
    fn masker(&self) -> Option<Arc<Masker>>;

    /// A new translator of its journal into `view=updates`.
    fn translation(&self) -> Translation;

    /// The current epoch.
    fn epoch(&self) -> String;
}
