//! A sink as configured in a request or in the configuration file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A sink: a destination that the journal is pushed to. Fields that do not belong to the kind are refused.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkRequest {
    /// The kind.
    #[serde(alias = "type")]
    pub kind: SinkKind,
    /// Its name in the session: `[A-Za-z0-9_-]{1,64}`; the kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `http`, `webhook`, `otlp`: the URL of the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `http`, `webhook`, `otlp`: additional headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// `http`: the view; `raw` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// `http`, `otlp`: whether bodies are compressed with gzip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gzip: Option<bool>,
    /// `studio`: the URL of the backend.
    #[serde(default, alias = "apiUrl", skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// `studio`: the API key.
    #[serde(default, alias = "apiKey", skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// `studio`, `cloudflare-kv`: the agent's id; when absent `metadata.agentId`, otherwise the agent's name.
    #[serde(default, alias = "agentId", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// `cloudflare-kv`: the account.
    #[serde(default, alias = "accountId", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// `cloudflare-kv`: the namespace.
    #[serde(default, alias = "namespaceId", skip_serializing_if = "Option::is_none")]
    pub namespace_id: Option<String>,
    /// `cloudflare-kv`: the API token.
    #[serde(default, alias = "apiToken", skip_serializing_if = "Option::is_none")]
    pub api_token: Option<String>,
    /// `cloudflare-kv`: the base URL of the API; `https://api.cloudflare.com/client/v4` when absent.
    #[serde(default, alias = "apiBase", skip_serializing_if = "Option::is_none")]
    pub api_base: Option<String>,
    /// `webhook`: the format of bodies; `standard` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<WebhookFormat>,
    /// `webhook`: the key that signs bodies: `whsec_` and base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `webhook` with `format: "github"` only: a token that may send `repository_dispatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `webhook`: the events to send; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
}

/// The kind of sink: what is sent, and in which format.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SinkKind {
    /// Batches of records to any HTTP backend.
    #[default]
    Http,
    /// Output and status to a backend with the log routes that callers of `POST /execute` have.
    Studio,
    /// Output and status as values in Cloudflare KV.
    CloudflareKv,
    /// Life-cycle events.
    Webhook,
    /// OpenTelemetry logs, and one trace per turn.
    Otlp,
}

impl SinkKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Http, Self::Studio, Self::CloudflareKv, Self::Webhook, Self::Otlp];

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

/// How the journal is presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The journal's lines.
    #[default]
    Raw,
    /// Agents' output as ACP `session/update`, the same for every agent; other records as in `raw`.
    Updates,
}

/// The format of a webhook's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// `{"type", "timestamp", "data"}`, as in Standard Webhooks.
    #[default]
    Standard,
    /// GitHub's `repository_dispatch`.
    Github,
    /// A flat JSON object.
    Plain,
}

/// An event that a webhook sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum WebhookEvent {
    /// A session was created.
    #[serde(rename = "session.created")]
    SessionCreated,
    /// A turn's agent was started.
    #[serde(rename = "turn.started")]
    TurnStarted,
    /// A turn ended.
    #[serde(rename = "turn.ended")]
    TurnEnded,
    /// The agent asks for permission.
    #[serde(rename = "permission.requested")]
    PermissionRequested,
    /// A resource is running low.
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
    /// Shows no field that may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkRequest")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
