//! ACP's words to ours and back; pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agent_client_protocol_schema::v1::{
    ContentBlock, EmbeddedResourceResource, EnvVariable, Error, ErrorCode, HttpHeader, McpServer as Server, Meta,
    NewSessionRequest, PromptResponse, StopReason as AcpStopReason,
};
use serde_json::{Value, json};

use super::message::told;
use crate::api::http::json;
use crate::api::http::problem::Problem;
use promptd_model::{McpServer, McpTransport, SessionRequest, Status, StopReason, TurnEnded};

/// Our member of `_meta`, where ACP lets implementations put what it has no word for.
pub(super) const META: &str = "promptd";

/// Our part of a `_meta`.
pub(super) fn meta(value: Value) -> Meta {
    Meta::from_iter([(META.to_owned(), value)])
}

/// A prompt as one text: agents get no more. What is linked is named, what is embedded stands where it stood.
pub(super) fn prompt(blocks: Vec<ContentBlock>) -> Result<String, Error> {
    let mut text = String::new();
    for block in blocks {
        match block {
            ContentBlock::Text(block) => text.push_str(&block.text),
            ContentBlock::ResourceLink(link) => text.push_str(&format!("[@{}]({})", link.name, link.uri)),
            ContentBlock::Resource(resource) => match resource.resource {
                EmbeddedResourceResource::TextResourceContents(resource) => {
                    let (uri, inside) = (resource.uri, resource.text);
                    text.push_str(&format!("\n<context ref=\"{uri}\">\n{inside}\n</context>\n"));
                }
                _ => return Err(not_text("an embedded resource that is not text")),
            },
            ContentBlock::Image(_) => return Err(not_text("an image")),
            ContentBlock::Audio(_) => return Err(not_text("audio")),
            _ => return Err(not_text("a block of a kind that is not known here")),
        }
    }
    Ok(text)
}

fn not_text(what: &str) -> Error {
    let message = format!(
        "the prompt holds {what}, and promptd hands text to agents; put it into a file of the workspace and link it"
    );
    told(ErrorCode::InvalidParams, message)
}

/// The create request that `session/new` means. `_meta.promptd` may hold any of its fields but the prompt.
pub(super) fn session(new: NewSessionRequest) -> Result<SessionRequest, Problem> {
    let given = new.meta.and_then(|mut meta| meta.remove(META));
    let mut request: SessionRequest = match given {
        Some(given) => json::parse(given.to_string().as_bytes())?,
        None => SessionRequest::default(),
    };
    if request.prompt.is_some() {
        let detail = "_meta.promptd holds a prompt; send it with session/prompt";
        return Err(Problem::bad_request("invalid_field", detail).with("field", "prompt"));
    }
    no_directories(&new.additional_directories)?;
    request.cwd = Some(text_of(&new.cwd));
    request.mcp_servers.extend(servers(new.mcp_servers)?);
    Ok(request)
}

/// Whether a session is what `session/load` or `session/resume` asks for beyond its folder: it has the servers that it
/// was created with.
pub(super) fn reopen(session: &SessionRequest, directories: &[PathBuf], given: Vec<Server>) -> Result<(), Problem> {
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

fn servers(servers: Vec<Server>) -> Result<BTreeMap<String, McpServer>, Problem> {
    servers.into_iter().map(server).collect()
}

fn server(server: Server) -> Result<(String, McpServer), Problem> {
    let headers = |headers: Vec<HttpHeader>| headers.into_iter().map(|header| (header.name, header.value)).collect();
    let env = |env: Vec<EnvVariable>| {
        env.into_iter()
            .map(|variable| (variable.name, variable.value))
            .collect()
    };
    Ok(match server {
        Server::Http(http) => (
            http.name,
            McpServer {
                transport: Some(McpTransport::Http),
                url: Some(http.url),
                headers: headers(http.headers),
                ..McpServer::default()
            },
        ),
        Server::Sse(sse) => (
            sse.name,
            McpServer {
                transport: Some(McpTransport::Sse),
                url: Some(sse.url),
                headers: headers(sse.headers),
                ..McpServer::default()
            },
        ),
        Server::Stdio(stdio) => (
            stdio.name,
            McpServer {
                transport: Some(McpTransport::Stdio),
                command: Some(text_of(&stdio.command)),
                args: stdio.args,
                env: env(stdio.env),
                ..McpServer::default()
            },
        ),
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

/// What `session/prompt` answers when its turn is over.
pub(super) fn outcome(turn: u32, seq: u64, ended: TurnEnded) -> Result<PromptResponse, Error> {
    let reason = match (ended.status, ended.stop_reason) {
        (Status::Completed, reason) => stop_reason(reason),
        (Status::Cancelled, _) => AcpStopReason::Cancelled,
        // To us a failure, to ACP an end that has a name.
        (Status::Failed, Some(StopReason::MaxTurnRequests)) => AcpStopReason::MaxTurnRequests,
        (Status::Failed | Status::TimedOut | Status::Lost, _) => return Err(failure(turn, ended)),
    };
    let about = json!({ "turn": turn, "seq": seq, "usage": ended.usage });
    Ok(PromptResponse::new(reason).meta(meta(about)))
}

fn stop_reason(reason: Option<StopReason>) -> AcpStopReason {
    match reason {
        None | Some(StopReason::EndTurn) => AcpStopReason::EndTurn,
        Some(StopReason::MaxTokens) => AcpStopReason::MaxTokens,
        Some(StopReason::MaxTurnRequests) => AcpStopReason::MaxTurnRequests,
        Some(StopReason::Refusal) => AcpStopReason::Refusal,
        Some(StopReason::Cancelled) => AcpStopReason::Cancelled,
    }
}

fn failure(turn: u32, ended: TurnEnded) -> Error {
    let said = ended.error.or(ended.result).filter(|text| !text.is_empty());
    let message = said.clone().unwrap_or_else(|| {
        format!("turn {turn} did not end well; its records tell more: GET /v1/sessions/{{sessionId}}/events")
    });
    let data = json!({ "turn": turn, "status": ended.status, "cause": ended.cause, "error": said });
    told(ErrorCode::InternalError, message).data(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_model::Cause;

    fn blocks(value: Value) -> Vec<ContentBlock> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_prompt_is_its_texts_links_and_embedded_texts_in_their_order() {
        let text = prompt(blocks(json!([
            { "type": "text", "text": "look at " },
            { "type": "resource_link", "name": "a.rs", "uri": "file:///w/a.rs" },
            { "type": "resource", "resource": { "uri": "file:///w/b", "text": "B" } },
            { "type": "text", "text": "now" },
        ])));
        let expected = "look at [@a.rs](file:///w/a.rs)\n<context ref=\"file:///w/b\">\nB\n</context>\nnow";
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn what_is_not_text_is_refused_and_named() {
        for (block, named) in [
            (
                json!({ "type": "image", "data": "", "mimeType": "image/png" }),
                "an image",
            ),
            (json!({ "type": "audio", "data": "", "mimeType": "audio/wav" }), "audio"),
            (
                json!({ "type": "resource", "resource": { "uri": "x", "blob": "" } }),
                "not text",
            ),
        ] {
            let error = prompt(blocks(json!([block]))).unwrap_err();
            assert_eq!(i32::from(error.code), -32602);
            assert!(error.message.contains(named), "{}", error.message);
        }
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

    #[test]
    fn a_turns_end_is_a_stop_reason_or_an_error_that_says_why() {
        let ended = |status, stop_reason| TurnEnded {
            status,
            cause: Some(Cause::Auth),
            stop_reason,
            result: None,
            error: Some("no key".to_owned()),
            usage: None,
            agent_session_id: None,
        };
        let reason = |status, stop_reason| outcome(1, 9, ended(status, stop_reason)).unwrap().stop_reason;
        assert_eq!(reason(Status::Completed, None), AcpStopReason::EndTurn);
        assert_eq!(
            reason(Status::Completed, Some(StopReason::MaxTurnRequests)),
            AcpStopReason::MaxTurnRequests
        );
        assert_eq!(reason(Status::Cancelled, None), AcpStopReason::Cancelled);
        assert_eq!(
            reason(Status::Failed, Some(StopReason::MaxTurnRequests)),
            AcpStopReason::MaxTurnRequests
        );
        for status in [Status::Failed, Status::TimedOut, Status::Lost] {
            let error = outcome(1, 9, ended(status, None)).unwrap_err();
            assert_eq!((i32::from(error.code), error.message.as_str()), (-32603, "no key"));
            assert_eq!(error.data.unwrap()["cause"], "auth");
        }
    }
}
