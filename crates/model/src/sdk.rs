//! What clients of Claude Agent SDK servers configure, and the session that it means.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::mcp::McpServer;
use super::request::{PermissionMode, SessionRequest};

/// Stands where a value is secret.
const HIDDEN: &str = "***";

/// The options of the Claude Agent SDK that are honoured here, by the SDK's own names; clients send others, too, which
/// are neither used nor kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SdkConfig {
    /// The key of the model's API; secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic_api_key: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A text in place of the agent's own system prompt, or `{"type":"preset","preset":"claude_code","append"?}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub system_prompt: Option<SystemPrompt>,
    /// The only tools that may be used; all when absent.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// Servers of tools, by name.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// Sub-agents, by name, in the SDK's words.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub agents: Map<String, Value>,
    /// The most answers of the model in a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Whether the agent asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<SdkPermissionMode>,
    /// Whether `stream_event` messages are sent.
    #[serde(default, deserialize_with = "or_default")]
    pub include_partial_messages: bool,
    /// The working directory, relative to the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Environment for the agent; values are secret.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A sub-agent that cannot be handed on; never a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "agents.{name}.mcpServers holds more than names; put the servers into mcpServers beside agents, and name them here"
)]
pub struct WrongSubagent {
    /// The sub-agent's name.
    pub name: String,
}

/// Clients in some languages write `null` for what they leave out.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// Whether the agent asks before it does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SdkPermissionMode {
    /// Never, as when absent.
    BypassPermissions,
    /// As it does by itself: its questions are answered at `/v1/sessions/{id}/permissions`.
    Default,
}

/// What stands in place of, or behind, the agent's own system prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum SystemPrompt {
    /// In its place.
    Text(String),
    /// The agent's own, and this behind it.
    Append(Option<String>),
}

impl TryFrom<Value> for SystemPrompt {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, &'static str> {
        const RIGHT: &str = "it must be a text or {\"type\":\"preset\",\"preset\":\"claude_code\",\"append\"?}";
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(mut preset) if preset.get("preset").and_then(Value::as_str) == Some("claude_code") => {
                match preset.remove("append") {
                    None | Some(Value::Null) => Ok(Self::Append(None)),
                    Some(Value::String(text)) => Ok(Self::Append(Some(text))),
                    Some(_) => Err(RIGHT),
                }
            }
            _ => Err(RIGHT),
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
    /// Whether all of it can be handed on.
    ///
    /// # Errors
    /// Names a sub-agent that brings a server of tools: sub-agents are an argument of the program, which others on the
    /// machine can read, and a server's headers and environment are secret.
    pub fn check(&self) -> Result<(), WrongSubagent> {
        let is_name = |servers: &Value| match servers {
            Value::Null => true,
            Value::Array(servers) => servers.iter().all(Value::is_string),
            _ => false,
        };
        let wrong = self.agents.iter().find(|(_, agent)| !is_name(&agent["mcpServers"]));
        wrong.map_or(Ok(()), |(name, _)| Err(WrongSubagent { name: name.clone() }))
    }

    /// The session that it means, without a prompt.
    pub fn request(&self) -> SessionRequest {
        let mut env = self.env.clone();
        if let Some(key) = &self.anthropic_api_key {
            env.insert("ANTHROPIC_API_KEY".to_owned(), key.clone());
        }
        // The switches as of claude 2.1.
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

    /// The same without its secrets.
    #[must_use]
    pub fn shown(&self) -> Self {
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
    fn what_a_client_posts_is_a_session_of_claude() {
        // Clients post all their options, those of their own sandbox, too.
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
    fn null_is_what_was_left_out() {
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
    fn a_system_prompt_is_a_text_or_the_agents_own_with_more() {
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
    fn a_sub_agent_names_servers_and_brings_none() {
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
    fn nothing_secret_is_shown() {
        let shown = config(json!({
            "anthropicApiKey": "s3cret", "env": { "TOKEN": "s3cret" },
            "mcpServers": { "m": { "url": "http://x", "headers": { "A": "s3cret" }, "env": { "B": "s3cret" } } },
        }))
        .shown();
        let text = serde_json::to_string(&shown).unwrap();
        assert!(!text.contains("s3cret") && text.contains("TOKEN"), "{text}");
    }
}
