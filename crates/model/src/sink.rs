//! Where a session's journal is to be pushed, as a request or the configuration words it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One sink. Which fields a kind needs and takes is checked before the session is accepted.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkRequest {
    /// What is sent, and how.
    #[serde(alias = "type")]
    pub kind: SinkKind,
    /// Its name in the session: `[A-Za-z0-9_-]{1,64}`; the kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `http`, `webhook`, `otlp`: where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `http`, `webhook`, `otlp`: further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// `http`: in which words; `raw` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// `http`, `otlp`: whether bodies are compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gzip: Option<bool>,
    /// `studio`: the backend.
    #[serde(default, alias = "apiUrl", skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// `studio`: its key.
    #[serde(default, alias = "apiKey", skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// `studio`, `cloudflare-kv`: the caller's name for the agent; `metadata.agentId`, else the agent's name, when absent.
    #[serde(default, alias = "agentId", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// `cloudflare-kv`: the account.
    #[serde(default, alias = "accountId", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// `cloudflare-kv`: the namespace.
    #[serde(default, alias = "namespaceId", skip_serializing_if = "Option::is_none")]
    pub namespace_id: Option<String>,
    /// `cloudflare-kv`: the API's token.
    #[serde(default, alias = "apiToken", skip_serializing_if = "Option::is_none")]
    pub api_token: Option<String>,
    /// `cloudflare-kv`: the API; `https://api.cloudflare.com/client/v4` when absent.
    #[serde(default, alias = "apiBase", skip_serializing_if = "Option::is_none")]
    pub api_base: Option<String>,
    /// `webhook`: what bodies look like; `standard` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<WebhookFormat>,
    /// `webhook`: `whsec_` and base64, with which bodies are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `webhook`: `format: "github"` only: a token that may dispatch to the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `webhook`: only these events; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
}

/// What a sink sends, and how.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SinkKind {
    /// Batches of records, to any backend.
    #[default]
    Http,
    /// Output and status, to a backend with the log routes of `POST /execute`'s callers.
    Studio,
    /// Output and status, as values of Cloudflare's KV store.
    CloudflareKv,
    /// Life-cycle events.
    Webhook,
    /// OpenTelemetry logs, and one trace per turn.
    Otlp,
}

impl SinkKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Studio => "studio",
            Self::CloudflareKv => "cloudflare-kv",
            Self::Webhook => "webhook",
            Self::Otlp => "otlp",
        }
    }
}

/// In which words a journal is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The journal's own lines.
    #[default]
    Raw,
    /// What agents say in the words of ACP's `session/update`, the same for every agent; all else as in `raw`.
    Updates,
}

/// What a webhook's body looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// `{"type", "timestamp", "data"}`, as Standard Webhooks has it.
    #[default]
    Standard,
    /// GitHub's `repository_dispatch`.
    Github,
    /// A flat JSON object.
    Plain,
}

/// What a webhook tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum WebhookEvent {
    /// A session was created.
    #[serde(rename = "session.created")]
    SessionCreated,
    /// A turn's agent was started.
    #[serde(rename = "turn.started")]
    TurnStarted,
    /// A turn is over.
    #[serde(rename = "turn.ended")]
    TurnEnded,
    /// The agent asks for a permission.
    #[serde(rename = "permission.requested")]
    PermissionRequested,
    /// Something runs short.
    #[serde(rename = "resource.alert")]
    ResourceAlert,
    /// The sandbox was paused or cloned.
    #[serde(rename = "sandbox.resumed")]
    SandboxResumed,
}

impl WebhookEvent {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionCreated => "session.created",
            Self::TurnStarted => "turn.started",
            Self::TurnEnded => "turn.ended",
            Self::PermissionRequested => "permission.requested",
            Self::ResourceAlert => "resource.alert",
            Self::SandboxResumed => "sandbox.resumed",
        }
    }
}

impl std::fmt::Debug for SinkRequest {
    /// Everything that may be a secret stays out of whatever this is printed into.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkRequest")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
