//! Talks the Agent Client Protocol, version 1, with an agent: one prompt, and the answers to its questions.
//!
//! promptd offers the agent nothing: no files, no terminals. Agents have their own in the same sandbox; what they ask
//! for all the same is refused with JSON-RPC's "method not found", which they take (opencode asks to write each edited
//! file, qwen for prompts that wait).

use std::collections::BTreeMap;

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1::{
    AGENT_METHOD_NAMES, CLIENT_METHOD_NAMES, CancelNotification, CancelRequestNotification, ClientCapabilities,
    ContentBlock, EnvVariable, HttpHeader, Implementation, InitializeRequest, InitializeResponse, LoadSessionRequest,
    McpServer as AcpServer, McpServerHttp, McpServerSse, McpServerStdio, NewSessionRequest,
    PROTOCOL_LEVEL_METHOD_NAMES as PROTOCOL, PermissionOptionKind, PromptRequest, RequestId, RequestPermissionOutcome,
    RequestPermissionRequest, RequestPermissionResponse, ResumeSessionRequest, SelectedPermissionOutcome, TextContent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::formats::acp::{CANCEL, GEMINI, INITIALIZE, MODEL, PROMPT, Reader, SESSION};
use super::super::json_rpc::{self, INVALID_PARAMS, METHOD_NOT_FOUND, Message, REQUEST_CANCELLED};
use super::super::observe::lenient;
use super::super::{Observer, TurnRequest};
use super::{CANCELLED, Driver, Effect, Question, Questions, Stage};
use promptd_model::{
    Cause, McpServer, McpTransport, Observation, PermissionKind, PermissionMode, PermissionOption, Stream,
};

/// The driver for one attempt of a turn.
pub(crate) fn driver(request: &TurnRequest<'_>) -> Box<dyn Driver> {
    let resumed = request.agent_session_id.filter(|_| !request.first_turn);
    let mut driver = Acp {
        prompt: request.prompt.to_owned(),
        cwd: request.cwd.to_string_lossy().into_owned(),
        servers: request.mcp_servers.clone(),
        model: request.model.map(str::to_owned),
        asks: request.permission == PermissionMode::Ask,
        session: resumed.map(str::to_owned),
        reader: resumed.map_or_else(Reader::default, Reader::resuming),
        questions: Questions::default(),
        stage: Stage::Opening,
        is_opened: false,
        is_interrupted: false,
        due: Vec::new(),
    };
    let ours = Implementation::new("promptd", env!("CARGO_PKG_VERSION"));
    let initialize = InitializeRequest::new(ProtocolVersion::V1)
        .client_capabilities(ClientCapabilities::new())
        .client_info(ours);
    driver.request(INITIALIZE, AGENT_METHOD_NAMES.initialize, &initialize);
    Box::new(driver)
}

struct Acp {
    prompt: String,
    cwd: String,
    servers: BTreeMap<String, McpServer>,
    model: Option<String>,
    asks: bool,
    session: Option<String>,
    reader: Reader,
    questions: Questions<RequestId>,
    stage: Stage,
    /// The session is there, with the model that was asked for.
    is_opened: bool,
    is_interrupted: bool,
    due: Vec<Effect>,
}

/// What the answer to `session/new` and its siblings says besides the id. `models` is older than `configOptions` and
/// not in the standard any more; gemini and qwen have it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Offer {
    #[serde(deserialize_with = "lenient")]
    session_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    models: Value,
    #[serde(deserialize_with = "lenient")]
    config_options: Vec<Value>,
}

impl Observer for Acp {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        self.reader.line(stream, line);
        if stream == Stream::Stderr || self.stage == Stage::Over {
            return;
        }
        match json_rpc::parse(line) {
            Some(Message::Result { id, result }) => self.result(&id, result),
            Some(Message::Request { id, method, params }) => self.requested(id, &method, params),
            Some(Message::Notification { method, params }) if method == PROTOCOL.cancel_request => {
                if let Ok(back) = serde_json::from_str::<CancelRequestNotification>(params) {
                    self.withdrawn(&back.request_id);
                }
            }
            Some(Message::Error { .. } | Message::Notification { .. }) | None => {}
        }
        if self.is_opened && self.stage == Stage::Opening && self.reader.is_ready() {
            self.say_the_prompt();
        }
        self.close_at_the_end();
    }

    fn observation(&self) -> &Observation {
        self.reader.observation()
    }
}

impl Driver for Acp {
    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.due)
    }

    fn answer(&mut self, id: &str, option: &str) {
        if option == CANCELLED {
            self.interrupt();
        } else if let Some(request) = self.questions.answer(id, option) {
            self.permit(&request, Some(option));
        }
    }

    fn interrupt(&mut self) {
        if self.is_interrupted || self.stage == Stage::Over {
            return;
        }
        self.is_interrupted = true;
        if let (Stage::Prompted, Some(session)) = (self.stage, &self.session) {
            // First the cancellation, so that no agent takes the answers to its questions for a reason to go on.
            let cancel = CancelNotification::new(session.clone());
            let cancel = json!({ "jsonrpc": "2.0", "method": CANCEL, "params": cancel });
            self.due.push(Effect::Write(json_rpc::line(&cancel)));
            for request in self.questions.take() {
                self.permit(&request, None);
            }
        } else {
            self.reader.cancelled();
            self.close_at_the_end();
        }
    }

    fn wrote(&mut self, line: &[u8]) {
        if let Some(Message::Notification { method, .. }) = json_rpc::parse(line)
            && method == CANCEL
        {
            self.interrupt();
        }
    }
}

impl Acp {
    fn result(&mut self, id: &RequestId, result: &str) {
        match id {
            RequestId::Number(INITIALIZE) => match serde_json::from_str(result) {
                Ok(offer) => self.open(&offer),
                Err(error) => self.fail(&format!("the agent's answer to `initialize` is not ACP's: {error}")),
            },
            RequestId::Number(SESSION) => {
                let offer: Offer = serde_json::from_str(result).unwrap_or_default();
                self.session = offer.session_id.clone().or(self.session.take());
                if self.session.is_none() {
                    self.fail("the agent began a session without an id");
                } else {
                    self.is_opened = !self.choose_model(&offer);
                }
            }
            RequestId::Number(MODEL) => self.is_opened = true,
            _ => {}
        }
    }

    fn open(&mut self, offer: &InitializeResponse) {
        if offer.protocol_version != ProtocolVersion::V1 {
            let version = json_rpc::value(&offer.protocol_version);
            return self.fail(&format!(
                "the agent speaks version {version} of ACP, promptd speaks version 1"
            ));
        }
        let able = &offer.agent_capabilities;
        let servers: Vec<AcpServer> = self.servers.iter().map(|(name, server)| told(name, server)).collect();
        let missing = servers.iter().find_map(|server| match server {
            AcpServer::Http(server) if !able.mcp_capabilities.http => Some((&server.name, "http")),
            AcpServer::Sse(server) if !able.mcp_capabilities.sse => Some((&server.name, "sse")),
            _ => None,
        });
        if let Some((name, transport)) = missing {
            return self.fail(&format!(
                "the agent cannot use the MCP server {name:?}: it does not speak {transport}; leave the server out"
            ));
        }
        let cwd = self.cwd.clone();
        match self.session.clone() {
            None => {
                let new = NewSessionRequest::new(cwd).mcp_servers(servers);
                self.request(SESSION, AGENT_METHOD_NAMES.session_new, &new);
            }
            Some(id) if able.session_capabilities.resume.is_some() => {
                let resume = ResumeSessionRequest::new(id, cwd).mcp_servers(servers);
                self.request(SESSION, AGENT_METHOD_NAMES.session_resume, &resume);
            }
            Some(id) if able.load_session => {
                // Gemini begins to record a session when it has its id, and only then looks for the one to load. Within
                // the minute in which that was begun, both are one file, and the recording destroys what was to be
                // loaded. It looks for the id without the space, but records under the id with it.
                let is_gemini = offer.agent_info.as_ref().is_some_and(|agent| agent.name == GEMINI);
                let id = if is_gemini { format!(" {id}") } else { id };
                self.session = Some(id.clone());
                let load = LoadSessionRequest::new(id, cwd).mcp_servers(servers);
                self.request(SESSION, AGENT_METHOD_NAMES.session_load, &load);
            }
            Some(_) => self.fail("the agent cannot resume its session: it offers neither `session/resume` nor `session/load`; start a new session"),
        }
    }

    /// Asks for the model where the agent offers it and has another; else the launch has said it.
    fn choose_model(&mut self, offer: &Offer) -> bool {
        let (Some(model), Some(session)) = (&self.model, &self.session) else {
            return false;
        };
        let is_offered = |list: Option<&Value>, key: &str| list.is_some_and(|list| offers(list, key, model));
        let option = offer.config_options.iter().find(|option| {
            option["category"] == "model"
                && option["currentValue"] != **model
                && is_offered(option.get("options"), "value")
        });
        if let Some(option) = option {
            let params = json!({ "sessionId": session, "configId": option["id"], "value": model });
            self.request(MODEL, AGENT_METHOD_NAMES.session_set_config_option, &params);
            return true;
        }
        let models = &offer.models;
        if models["currentModelId"] != **model && is_offered(models.get("availableModels"), "modelId") {
            let params = json!({ "sessionId": session, "modelId": model });
            self.request(MODEL, "session/set_model", &params);
            return true;
        }
        false
    }

    fn say_the_prompt(&mut self) {
        let Some(session) = self.session.clone() else { return };
        self.stage = Stage::Prompted;
        let text = ContentBlock::Text(TextContent::new(std::mem::take(&mut self.prompt)));
        let prompt = PromptRequest::new(session, vec![text]);
        self.request(PROMPT, AGENT_METHOD_NAMES.session_prompt, &prompt);
    }

    fn requested(&mut self, id: RequestId, method: &str, params: &str) {
        if method != CLIENT_METHOD_NAMES.session_request_permission {
            return self.refuse(&id, METHOD_NOT_FOUND, "promptd offers no such method");
        }
        let Ok(asked) = serde_json::from_str::<RequestPermissionRequest>(params) else {
            return self.refuse(&id, INVALID_PARAMS, "this is not ACP's request for a permission");
        };
        let options: Vec<PermissionOption> = asked
            .options
            .into_iter()
            .map(|option| PermissionOption {
                option_id: option.option_id.to_string(),
                name: option.name,
                kind: match option.kind {
                    PermissionOptionKind::AllowOnce => PermissionKind::AllowOnce,
                    PermissionOptionKind::AllowAlways => PermissionKind::AllowAlways,
                    PermissionOptionKind::RejectAlways => PermissionKind::RejectAlways,
                    _ => PermissionKind::RejectOnce,
                },
            })
            .collect();
        if self.is_interrupted || options.is_empty() {
            return self.permit(&id, None);
        }
        if !self.asks {
            let allowed = [PermissionKind::AllowOnce, PermissionKind::AllowAlways]
                .iter()
                .find_map(|kind| options.iter().find(|option| option.kind == *kind));
            return self.permit(&id, allowed.map(|option| option.option_id.as_str()));
        }
        let title = asked.tool_call.fields.title.clone();
        let question = Question {
            id: String::new(),
            title: title.unwrap_or_else(|| "a tool".to_owned()),
            options,
            tool_call: Some(json_rpc::value(&asked.tool_call)),
        };
        let question = self.questions.ask(id, question);
        self.due.push(Effect::Ask(question));
    }

    /// The agent has taken a question back, and is still owed an answer.
    fn withdrawn(&mut self, request: &RequestId) {
        if let Some(id) = self.questions.withdraw(|asked| asked == request) {
            self.due.push(Effect::Withdraw(id));
            self.refuse(request, REQUEST_CANCELLED, "the request was cancelled");
        }
    }

    /// Answers a question of the agent; without an option, that the turn is cancelled.
    fn permit(&mut self, id: &RequestId, option: Option<&str>) {
        let outcome = match option {
            Some(option) => RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(option.to_owned())),
            None => RequestPermissionOutcome::Cancelled,
        };
        let result = RequestPermissionResponse::new(outcome);
        let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        self.due.push(Effect::Write(json_rpc::line(&answer)));
    }

    fn refuse(&mut self, id: &RequestId, code: i64, message: &str) {
        let error = json_rpc::error(code, message);
        let answer = json!({ "jsonrpc": "2.0", "id": id, "error": error });
        self.due.push(Effect::Write(json_rpc::line(&answer)));
    }

    fn request(&mut self, id: i64, method: &str, params: &impl Serialize) {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": json_rpc::value(params) });
        self.due.push(Effect::Write(json_rpc::line(&request)));
    }

    fn fail(&mut self, error: &str) {
        self.reader.fail(Cause::AgentError, error);
    }

    fn close_at_the_end(&mut self) {
        if self.stage != Stage::Over && self.reader.observation().final_event.is_some() {
            self.stage = Stage::Over;
            // An answer that comes now would be written behind the end.
            drop(self.questions.take());
            self.due.push(Effect::Close);
        }
    }
}

/// Whether a list of choices, which can be in groups, has one with this value.
fn offers(list: &Value, key: &str, wanted: &str) -> bool {
    list.as_array().is_some_and(|list| {
        list.iter().any(|choice| {
            choice.get(key).is_some_and(|value| value == wanted)
                || choice.get("options").is_some_and(|list| offers(list, key, wanted))
        })
    })
}

/// A server of tools in ACP's words.
fn told(name: &str, server: &McpServer) -> AcpServer {
    let url = server.url.clone().unwrap_or_default();
    let headers = server.headers.iter();
    let headers = headers.map(|(name, value)| HttpHeader::new(name.clone(), value.clone()));
    match (server.transport, &server.url) {
        (Some(McpTransport::Sse), _) => AcpServer::Sse(McpServerSse::new(name, url).headers(headers.collect())),
        (Some(McpTransport::Http), _) | (None, Some(_)) => {
            AcpServer::Http(McpServerHttp::new(name, url).headers(headers.collect()))
        }
        (Some(McpTransport::Stdio), _) | (None, None) => {
            let env = server.env.iter();
            let env = env.map(|(name, value)| EnvVariable::new(name.clone(), value.clone()));
            let command = server.command.clone().unwrap_or_default();
            AcpServer::Stdio(
                McpServerStdio::new(name, command)
                    .args(server.args.clone())
                    .env(env.collect()),
            )
        }
    }
}

#[cfg(test)]
#[path = "acp_tests.rs"]
mod tests;
