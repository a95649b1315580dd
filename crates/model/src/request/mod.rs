//! Requests: what callers may ask for.
//!
//! Owns the request types of the API and the checks that need nothing but the request. Promises that an error never
//! contains a value that may be secret. May not know which agents are installed or what is configured.

mod mcp;
mod path;
mod repo;
mod sdk;
mod session;
mod sink;
mod turn_options;

pub use mcp::{InvalidMcpServer, McpServer, McpTransport};
pub use path::CallerPath;
pub use repo::{InvalidRepo, RepoRequest};
pub use sdk::{InvalidSubagent, SdkConfig, SdkPermissionMode, SystemPrompt};
pub use session::{PermissionDefault, PermissionMode, Retry, RetryOn, SessionRequest, StdinMode, When};
pub use sink::{SinkKind, SinkRequest, View, WebhookEvent, WebhookFormat};
pub use turn_options::TurnOptions;
