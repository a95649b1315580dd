//! The configuration of Claude Agent SDK clients, and the session request that it corresponds to.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::mcp::McpServer;
use super::session::{PermissionMode, SessionRequest};

/// Replaces a secret value.
const HIDDEN: &str = "***";

/// The supported options of the Claude Agent SDK, with the SDK's names. Clients also send other options, which are
/// ignored and not stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SdkConfig {
    /// The API key for the model; secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic_api_key: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A text that replaces the agent's system prompt, or `{"type":"preset","preset":"claude_code","append"?}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub system_prompt: Option<SystemPrompt>,
    /// The tools that may be used; all when absent.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// MCP servers, by name.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// Sub-agents by name, in the SDK's format.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub agents: Map<String, Value>,
    /// Maximum model requests in a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Whether the agent asks for permission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<SdkPermissionMode>,
    /// Whether `stream_event` messages are sent.
    #[serde(default, deserialize_with = "or_default")]
    pub include_partial_messages: bool,
    /// The working directory, relative to the workspace. `new`: a folder of its own for each shared session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Environment variables for the agent; values are secret.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A sub-agent that cannot be passed to the agent. Contains no value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "agents.{name}.mcpServers holds more than names; put the servers into mcpServers beside agents, and name them here"
)]
pub struct InvalidSubagent {
    /// The sub-agent's name.
    pub name: String,
}

/// Accepts `null` as absent: clients in some languages send it.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// Whether the agent asks for permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SdkPermissionMode {
    /// Never, as when absent.
    BypassPermissions,
    /// As the agent decides: questions are answered at `/v1/sessions/{id}/permissions`.
    Default,
}

/// A text that replaces or extends the agent's system prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum SystemPrompt {
    /// Replaces it.
    Text(String),
    /// Keeps it and appends this text.
    Append(Option<String>),
}

impl TryFrom<Value> for SystemPrompt {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, &'static str> {
        const EXPECTED: &str = "it must be a text or {\"type\":\"preset\",\"preset\":\"claude_code\",\"append\"?}";
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(mut preset) if preset.get("preset").and_then(Value::as_str) == Some("claude_code") => {
                match preset.remove("append") {
                    None | Some(Value::Null) => Ok(Self::Append(None)),
                    Some(Value::String(text)) => Ok(Self::Append(Some(text))),
                    Some(_) => Err(EXPECTED),
                }
            }
            _ => Err(EXPECTED),
        }
    }
}

impl From<SystemPrompt> for Value {
    fn from(prompt: SystemPrompt) -> Self {
        match prompt {
            SystemPrompt::Text(text) => Self::String(text),
            SystemPrompt::Append(None) => json!({ "type": "preset", "preset": "claude_code" }),
            SystemPrompt::Append(Some(text)) => json!({ "type": "preset", "preset": "claude_code", "append": text }),
        }
    }
}

impl SdkConfig {
    /// Checks that all options can be passed to the agent.
    ///
    /// # Errors
    /// Returns a sub-agent that defines an MCP server. Sub-agents are passed as a program argument, which other users
    /// of the machine can read, and a server's headers and environment are secret.
    pub fn check(&self) -> Result<(), InvalidSubagent> {
        let is_name = |servers: &Value| match servers {
            Value::Null => true,
            Value::Array(servers) => servers.iter().all(Value::is_string),
            _ => false,
        };
        let invalid = self.agents.iter().find(|(_, agent)| !is_name(&agent["mcpServers"]));
        invalid.map_or(Ok(()), |(name, _)| Err(InvalidSubagent { name: name.clone() }))
    }

    /// The corresponding session request, without a prompt.
    pub fn request(&self) -> SessionRequest {
        let mut env = self.env.clone();
        if let Some(key) = &self.anthropic_api_key {
            env.insert("ANTHROPIC_API_KEY".to_owned(), key.clone());
        }
        // Options of claude 2.1.
        let mut args = Vec::new();
        let mut system_prompt = None;
        match &self.system_prompt {
            Some(SystemPrompt::Text(text)) => system_prompt = Some(text.clone()),
            Some(SystemPrompt::Append(Some(text))) => {
                args.extend(["--append-system-prompt".to_owned(), text.clone()]);
            }
            Some(SystemPrompt::Append(None)) | None => {}
        }
        if !self.agents.is_empty() {
            args.extend(["--agents".to_owned(), Value::Object(self.agents.clone()).to_string()]);
        }
        SessionRequest {
            agent: Some("claude".to_owned()),
            cwd: self.cwd.clone(),
            model: self.model.clone(),
            system_prompt,
            env,
            args,
            permission: Some(match self.permission_mode {
                Some(SdkPermissionMode::Default) => PermissionMode::Ask,
                Some(SdkPermissionMode::BypassPermissions) | None => PermissionMode::Bypass,
            }),
            max_turns: self.max_turns,
            allowed_tools: self.allowed_tools.clone(),
            mcp_servers: self.mcp_servers.clone(),
            ..SessionRequest::default()
        }
    }

    /// A copy without secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        shown.anthropic_api_key = None;
        let hide = |values: &mut BTreeMap<String, String>| {
            for value in values.values_mut() {
                HIDDEN.clone_into(value);
            }
        };
        hide(&mut shown.env);
        for server in shown.mcp_servers.values_mut() {
            hide(&mut server.env);
            hide(&mut server.headers);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(value: Value) -> SdkConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn options_become_a_claude_session() {
        // Clients send all their options, including those of their own sandbox.
        let config = config(json!({
            "anthropicApiKey": "k", "e2bApiKey": "theirs", "timeoutMs": 300_000, "debug": true,
            "model": "m", "systemPrompt": { "type": "preset", "preset": "claude_code", "append": "be brief" },
            "allowedTools": ["Read"], "maxTurns": 3, "agents": { "a": { "description": "d", "prompt": "p" } },
            "mcpServers": { "docs": { "type": "http", "url": "http://x", "headers": { "Authorization": "s" } } },
        }));
        let request = config.request();
        assert_eq!(
            (request.agent.as_deref(), request.model.as_deref()),
            (Some("claude"), Some("m"))
        );
        assert_eq!(request.env["ANTHROPIC_API_KEY"], "k");
        assert_eq!(
            request.args,
            [
                "--append-system-prompt",
                "be brief",
                "--agents",
                r#"{"a":{"description":"d","prompt":"p"}}"#
            ]
        );
        assert_eq!(
            (request.max_turns, request.allowed_tools),
            (Some(3), vec!["Read".to_owned()])
        );
        assert_eq!(request.mcp_servers["docs"].url.as_deref(), Some("http://x"));
        let kept = serde_json::to_string(&config).unwrap();
        assert!(!kept.contains("theirs") && serde_json::from_str::<SdkConfig>(&kept).unwrap() == config);
    }

    #[test]
    fn null_means_absent() {
        let names = [
            "model",
            "systemPrompt",
            "allowedTools",
            "mcpServers",
            "agents",
            "maxTurns",
            "env",
        ];
        let more = ["anthropicApiKey", "permissionMode", "includePartialMessages", "cwd"];
        let nulls: Map<String, Value> = names
            .into_iter()
            .chain(more)
            .map(|name| (name.to_owned(), Value::Null))
            .collect();
        assert_eq!(config(Value::Object(nulls)), SdkConfig::default());
    }

    #[test]
    fn system_prompt_is_a_text_or_a_preset() {
        let prompt = |value: Value| config(json!({ "systemPrompt": value })).request();
        assert_eq!(prompt(json!("pirate")).system_prompt.as_deref(), Some("pirate"));
        let preset = prompt(json!({ "type": "preset", "preset": "claude_code" }));
        assert_eq!((preset.system_prompt, preset.args.len()), (None, 0));
        for wrong in [
            json!(1),
            json!({ "preset": "other" }),
            json!({ "preset": "claude_code", "append": 1 }),
        ] {
            assert!(serde_json::from_value::<SdkConfig>(json!({ "systemPrompt": wrong })).is_err());
        }
    }

    #[test]
    fn sub_agent_may_only_name_mcp_servers() {
        let with =
            |servers: Value| config(json!({ "agents": { "a": { "prompt": "p", "mcpServers": servers } } })).check();
        for right in [Value::Null, json!([]), json!(["docs"])] {
            assert_eq!(with(right), Ok(()));
        }
        for wrong in [
            json!([{ "docs": { "url": "http://x" } }]),
            json!({ "docs": {} }),
            json!("docs"),
        ] {
            assert_eq!(with(wrong).unwrap_err().name, "a");
        }
        assert_eq!(config(json!({ "agents": { "a": "odd" } })).check(), Ok(()));
    }

    #[test]
    fn secrets_are_removed() {
        let shown = config(json!({
            "anthropicApiKey": "s3cret", "env": { "TOKEN": "s3cret" },
            "mcpServers": { "m": { "url": "http://x", "headers": { "A": "s3cret" }, "env": { "B": "s3cret" } } },
        }))
        .without_secrets();
        let text = serde_json::to_string(&shown).unwrap();
        assert!(!text.contains("s3cret") && text.contains("TOKEN"), "{text}");
    }
}
