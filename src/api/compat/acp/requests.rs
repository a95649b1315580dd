//! Requests of ACP to our requests; pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agent_client_protocol_schema::v1::{
    ContentBlock, EnvVariable, Error, ErrorCode, HttpHeader, McpServer as AcpServer, Meta, NewSessionRequest,
};

use super::message::{META, params, rpc_error, value};
use serde::Deserialize;
use serde_json::json;

use crate::api::http::json as body;
use crate::api::http::problem::Problem;
use promptd_model::{McpServer, McpTransport, PermissionMode, PromptContent, SessionRequest, TurnOptions};

/// What a client may say about a prompt in `_meta.promptd`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptOptions {
    /// The agent begins a new conversation.
    #[serde(default)]
    pub(super) fresh: bool,
    /// The model for the turn.
    #[serde(default)]
    model: Option<String>,
    /// What the agent may do without asking in the turn.
    #[serde(default)]
    permission: Option<PermissionMode>,
    /// Maximum model requests in the turn.
    #[serde(default)]
    max_turns: Option<u32>,
}

impl PromptOptions {
    /// What it chooses for its turn.
    pub(super) fn of_turn(&self) -> TurnOptions {
        TurnOptions {
            model: self.model.clone(),
            permission: self.permission,
            max_turns: self.max_turns,
        }
    }
}

/// The options of a `session/prompt`.
pub(super) fn prompt_options(meta: Option<Meta>) -> Result<PromptOptions, Problem> {
    match meta.and_then(|mut meta| meta.remove(META)) {
        Some(given) => body::parse(given.to_string().as_bytes()),
        None => Ok(PromptOptions::default()),
    }
}

/// The content of a prompt.
pub(super) fn prompt(blocks: &[ContentBlock]) -> Result<PromptContent, Error> {
    if let Some(index) = blocks.iter().position(|block| matches!(block, ContentBlock::Audio(_))) {
        let message = format!(
            "prompt[{index}] is audio, which no agent here takes; put it into a file of the workspace and link it"
        );
        return Err(rpc_error(ErrorCode::InvalidParams, message));
    }
    params(json!({ "prompt": value(&blocks)? })).map(|Given { prompt }| prompt)
}

#[derive(Deserialize)]
struct Given {
    prompt: PromptContent,
}

/// The create request of a `session/new`. `_meta.promptd` may hold any of its fields but the prompt.
pub(super) fn session(new: NewSessionRequest) -> Result<SessionRequest, Problem> {
    let given = new.meta.and_then(|mut meta| meta.remove(META));
    let mut request: SessionRequest = match given {
        Some(given) => body::parse(given.to_string().as_bytes())?,
        None => SessionRequest::default(),
    };
    if request.prompt.is_some() {
        let detail = "_meta.promptd holds a prompt; send it with session/prompt";
        return Err(Problem::bad_request("invalid_field", detail).with("field", "prompt"));
    }
    no_directories(&new.additional_directories)?;
    // Every client has to name a cwd. One that names another in `_meta`, such as `new`, means that one.
    request.cwd.get_or_insert_with(|| text_of(&new.cwd));
    request.mcp_servers.extend(servers(new.mcp_servers)?);
    Ok(request)
}

/// Refuses a `session/load` or `session/resume` that asks for other directories or MCP servers than the session has.
pub(super) fn check_reopen(
    session: &SessionRequest,
    directories: &[PathBuf],
    given: Vec<AcpServer>,
) -> Result<(), Problem> {
    no_directories(directories)?;
    let is_own = |(name, server): &(&String, &McpServer)| {
        let own = session.mcp_servers.get(*name).map(|own| McpServer {
            transport: Some(own.transport()),
            ..own.clone()
        });
        own.as_ref() == Some(*server)
    };
    match servers(given)?.iter().find(|server| !is_own(server)) {
        None => Ok(()),
        Some((name, _)) => {
            let detail = format!(
                "mcpServers holds {name:?}, which the session was not created with, or not like this; open it with its \
                 own servers or with none, or begin another one with session/new"
            );
            Err(Problem::bad_request("invalid_field", detail).with("field", "mcpServers"))
        }
    }
}

fn no_directories(directories: &[PathBuf]) -> Result<(), Problem> {
    if directories.is_empty() {
        return Ok(());
    }
    let field = "additionalDirectories";
    let detail = format!("{field} is not among what initialize offers; leave it out");
    Err(Problem::bad_request("invalid_field", detail).with("field", field))
}

fn servers(servers: Vec<AcpServer>) -> Result<BTreeMap<String, McpServer>, Problem> {
    servers.into_iter().map(server).collect()
}

fn server(server: AcpServer) -> Result<(String, McpServer), Problem> {
    let remote = |transport, url, headers: Vec<HttpHeader>| McpServer {
        transport: Some(transport),
        url: Some(url),
        headers: headers.into_iter().map(|header| (header.name, header.value)).collect(),
        ..McpServer::default()
    };
    let pair = |variable: EnvVariable| (variable.name, variable.value);
    Ok(match server {
        AcpServer::Http(http) => (http.name, remote(McpTransport::Http, http.url, http.headers)),
        AcpServer::Sse(sse) => (sse.name, remote(McpTransport::Sse, sse.url, sse.headers)),
        AcpServer::Stdio(stdio) => {
            let server = McpServer {
                transport: Some(McpTransport::Stdio),
                command: Some(text_of(&stdio.command)),
                args: stdio.args,
                env: stdio.env.into_iter().map(pair).collect(),
                ..McpServer::default()
            };
            (stdio.name, server)
        }
        _ => {
            let detail = "mcpServers holds one that is neither stdio nor http nor sse; use one of these";
            return Err(Problem::bad_request("invalid_field", detail).with("field", "mcpServers"));
        }
    })
}

/// A path that came as JSON is text.
fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn blocks(value: Value) -> Vec<ContentBlock> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_prompt_keeps_its_blocks() {
        let given = json!([
            { "type": "text", "text": "look at " },
            { "type": "resource_link", "name": "a.rs", "uri": "file:///w/a.rs" },
            { "type": "image", "data": "aGk=", "mimeType": "image/png" },
            { "type": "resource", "resource": { "uri": "file:///w/b", "text": "B" } },
        ]);
        let content = prompt(&blocks(given.clone())).unwrap();
        assert_eq!(content.check(), Ok(()));
        assert_eq!(serde_json::to_value(content).unwrap(), given);
    }

    #[test]
    fn audio_is_refused() {
        let audio = json!([{ "type": "audio", "data": "", "mimeType": "audio/wav" }]);
        let error = prompt(&blocks(audio)).unwrap_err();
        assert_eq!(i32::from(error.code), -32602);
        assert!(error.message.starts_with("prompt[0] is audio"), "{}", error.message);
    }

    #[test]
    fn a_new_session_is_a_create_request() {
        let new = json!({
            "cwd": "/w",
            "mcpServers": [
                { "name": "a", "command": "/bin/a", "args": ["x"], "env": [{ "name": "K", "value": "v" }] },
                { "type": "http", "name": "b", "url": "http://b", "headers": [{ "name": "H", "value": "h" }] },
                { "type": "sse", "name": "c", "url": "http://c", "headers": [] },
            ],
            "_meta": { "promptd": { "agent": "codex", "timeout": 5 }, "other": 1 },
        });
        let request = session(serde_json::from_value(new).unwrap()).unwrap();
        assert_eq!((request.cwd.as_deref(), request.timeout), (Some("/w"), Some(5.0)));
        assert_eq!(request.agent.as_deref(), Some("codex"));
        let servers = &request.mcp_servers;
        assert_eq!(
            (servers["a"].command.as_deref(), servers["a"].env["K"].as_str()),
            (Some("/bin/a"), "v")
        );
        assert_eq!(
            (servers["b"].transport, servers["b"].headers["H"].as_str()),
            (Some(McpTransport::Http), "h")
        );
        assert_eq!(servers["c"].transport, Some(McpTransport::Sse));
        let wrong = |promptd: Value| {
            let new = json!({ "cwd": "/w", "mcpServers": [], "_meta": { "promptd": promptd } });
            session(serde_json::from_value(new).unwrap()).unwrap_err().code()
        };
        assert_eq!(wrong(json!({ "agnet": "codex" })), "unknown_field");
        assert_eq!(wrong(json!({ "prompt": "hi" })), "invalid_field");
    }
}
