//! The state of the dialog: session, model, prompt, interrupt, and open questions.

use std::collections::{BTreeMap, VecDeque};

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1::{
    AGENT_METHOD_NAMES, CLIENT_METHOD_NAMES, CancelNotification, CancelRequestNotification, ClientCapabilities,
    ElicitationCapabilities, ElicitationFormCapabilities, Implementation, InitializeRequest, InitializeResponse,
    LoadSessionRequest, NewSessionRequest, PROTOCOL_LEVEL_METHOD_NAMES as PROTOCOL, RequestId,
    RequestPermissionRequest, ResumeSessionRequest,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::ask_mode::{self, AskMode};
use super::calls::Calls;
use super::login::{Login, LoginStep};
use super::prompt::Prompt;
use super::responses;
use super::servers::{acp_server, missing_transport};
use super::session::Offer;
use crate::drivers::driver::{CANCELLED, Driver, Effect, Question, Stage};
use crate::drivers::form;
use crate::drivers::questions::Questions;
use crate::formats::acp::AcpObserver;
use crate::formats::acp::wire::{AUTHENTICATE, CANCEL, GEMINI, INITIALIZE, MODE, MODEL, PROMPT, SESSION};
use crate::launch::request::TurnRequest;
use crate::output::lines::json_rpc::{self, INVALID_PARAMS, METHOD_NOT_FOUND, Message, REQUEST_CANCELLED};
use crate::output::observer::Observer;
use crate::output::tools::tool::str_at;
use promptd_model::{AnswerDetails, Cause, McpServer, Observation, PermissionKind, PermissionMode, Stream};

/// The driver for one attempt of a turn. The launch has made the agent ask, if it has to.
pub(crate) fn new(request: &TurnRequest<'_>) -> Box<dyn Driver> {
    begin(request, None)
}

/// The same for an agent from the configuration. If it has to ask, its mode is set. `ask_mode` is the one that the
/// configuration names.
pub(crate) fn of_configured(request: &TurnRequest<'_>, ask_mode: Option<&str>) -> Box<dyn Driver> {
    begin(
        request,
        Some(AskMode {
            configured: ask_mode.map(str::to_owned),
        }),
    )
}

fn begin(request: &TurnRequest<'_>, ask_mode: Option<AskMode>) -> Box<dyn Driver> {
    let resumed = request.resumed_session();
    let mut driver = Acp {
        prompt: Prompt::new(request.prompt, request.blocks),
        cwd: request.cwd.to_string_lossy().into_owned(),
        servers: request.mcp_servers.clone(),
        model: request.model.map(str::to_owned),
        asks: request.permission == PermissionMode::Ask,
        ask_mode,
        agent: String::new(),
        preparations: VecDeque::new(),
        calls: Calls::default(),
        session: resumed.map(str::to_owned),
        observer: resumed.map_or_else(AcpObserver::default, AcpObserver::resuming),
        questions: Questions::default(),
        login: Login::default(),
        stage: Stage::Opening,
        awaited: AGENT_METHOD_NAMES.initialize,
        has_session: false,
        is_interrupted: false,
        due: Vec::new(),
    };
    // Without a caller to ask, there is nobody to fill forms in.
    let forms = driver
        .asks
        .then(|| ElicitationCapabilities::new().form(ElicitationFormCapabilities::new()));
    let capabilities = ClientCapabilities::new().elicitation(forms);
    let ours = Implementation::new("promptd", env!("CARGO_PKG_VERSION"));
    let initialize = InitializeRequest::new(ProtocolVersion::V1)
        .client_capabilities(capabilities)
        .client_info(ours);
    driver.request(INITIALIZE, AGENT_METHOD_NAMES.initialize, &initialize);
    Box::new(driver)
}

struct Acp {
    prompt: Prompt,
    cwd: String,
    servers: BTreeMap<String, McpServer>,
    model: Option<String>,
    asks: bool,
    /// The mode in which the agent asks has to be set by the protocol.
    ask_mode: Option<AskMode>,
    /// The agent's name for itself.
    agent: String,
    /// Requests that the agent has to answer before it gets the prompt.
    preparations: VecDeque<(i64, &'static str, Value)>,
    calls: Calls,
    session: Option<String>,
    observer: AcpObserver,
    questions: Questions<Asked>,
    login: Login,
    stage: Stage,
    /// Our last request.
    awaited: &'static str,
    /// The session exists, and has the requested model and mode.
    has_session: bool,
    is_interrupted: bool,
    due: Vec<Effect>,
}

/// A question, by the agent's request.
#[derive(Debug)]
enum Asked {
    Permission(RequestId),
    /// An elicitation.
    Form(RequestId),
}

impl Asked {
    fn request(&self) -> &RequestId {
        let (Self::Permission(request) | Self::Form(request)) = self;
        request
    }
}

impl Observer for Acp {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        let is_opening = stream == Stream::Stdout && self.stage == Stage::Opening;
        if let Some(step) = is_opening.then(|| self.login.step(line)).flatten() {
            self.log_in(step);
            return self.close_if_finished();
        }
        self.observer.observe_line(stream, line);
        if stream == Stream::Stderr || self.stage == Stage::Over {
            return;
        }
        match json_rpc::parse(line) {
            Some(Message::Result { id, result }) => self.take_response(&id, result),
            Some(Message::Request { id, method, params }) => self.take_request(id, &method, params),
            Some(Message::Notification { method, params }) if method == PROTOCOL.cancel_request => {
                if let Ok(back) = serde_json::from_str::<CancelRequestNotification>(params) {
                    self.withdraw(&back.request_id);
                }
            }
            Some(Message::Notification { method, params })
                if self.asks && *method == *CLIENT_METHOD_NAMES.session_update =>
            {
                self.calls.take_update(params);
            }
            Some(Message::Error { .. } | Message::Notification { .. }) | None => {}
        }
        if self.has_session && self.stage == Stage::Opening && self.observer.is_ready() {
            self.send_prompt();
        }
        self.close_if_finished();
    }

    fn observation(&self) -> &Observation {
        self.observer.observation()
    }
}

impl Driver for Acp {
    fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.due)
    }

    fn answer(&mut self, id: &str, option: &str, details: &AnswerDetails) {
        if option == CANCELLED {
            self.interrupt();
        } else if let Some(asked) = self.questions.close(id, option) {
            match asked {
                Asked::Permission(request) => self.respond(&request, Some(option)),
                Asked::Form(request) => self.respond_to_form(&request, option, details),
            }
        }
    }

    fn interrupt(&mut self) {
        if self.is_interrupted || self.stage == Stage::Over {
            return;
        }
        self.is_interrupted = true;
        if let (Stage::Prompted, Some(session)) = (self.stage, &self.session) {
            // The cancellation comes first, so that no agent continues because of the answers to its questions.
            let cancel = CancelNotification::new(session.clone());
            let cancel = json!({ "jsonrpc": "2.0", "method": CANCEL, "params": cancel });
            self.due.push(Effect::Write(json_rpc::line(&cancel)));
            for asked in self.questions.close_all() {
                match asked {
                    Asked::Permission(request) => self.respond(&request, None),
                    Asked::Form(request) => {
                        self.respond_to_form(&request, responses::CANCEL_FORM, &AnswerDetails::default());
                    }
                }
            }
        } else {
            self.observer.cancel();
            self.close_if_finished();
        }
    }

    fn observe_written(&mut self, line: &[u8]) -> bool {
        match json_rpc::parse(line) {
            Some(Message::Notification { method, .. }) if method == CANCEL => {
                self.interrupt();
                true
            }
            // A former version set no mode, and the agent has the prompt.
            Some(Message::Request { method, .. }) if *method == *AGENT_METHOD_NAMES.session_prompt => {
                self.preparations.clear();
                self.stage = self.stage.max(Stage::Prompted);
                false
            }
            _ => false,
        }
    }

    fn awaited_method(&self) -> Option<&'static str> {
        (self.stage == Stage::Opening).then_some(self.awaited)
    }

    fn give_up(&mut self, error: &str) {
        if self.stage == Stage::Opening {
            let is_login = self.awaited == AGENT_METHOD_NAMES.authenticate;
            let cause = if is_login { Cause::Auth } else { Cause::AgentError };
            self.observer.fail(cause, error);
            self.close_if_finished();
        }
    }
}

impl Acp {
    fn log_in(&mut self, step: LoginStep) {
        match step {
            LoginStep::Authenticate(method) => {
                let params = json!({ "methodId": method });
                self.request(AUTHENTICATE, AGENT_METHOD_NAMES.authenticate, &params);
            }
            LoginStep::RequestSession(method, params) => self.request(SESSION, method, &params),
            LoginStep::Fail(error) => self.observer.fail(Cause::Auth, &error),
        }
    }

    fn take_response(&mut self, id: &RequestId, result: &str) {
        match id {
            RequestId::Number(INITIALIZE) => match serde_json::from_str(result) {
                Ok(offer) => {
                    self.login = Login::offered(result);
                    self.request_session(&offer);
                }
                Err(error) => self.fail(&format!(
                    "the agent's response to `initialize` is not valid ACP: {error}"
                )),
            },
            RequestId::Number(SESSION) => {
                let offer: Offer = serde_json::from_str(result).unwrap_or_default();
                self.session = offer.session_id.clone().or(self.session.take());
                if self.session.is_none() {
                    self.fail("the agent began a session without an id");
                } else {
                    self.prepare_session(&offer);
                }
            }
            RequestId::Number(MODEL | MODE) => self.send_preparation(),
            _ => {}
        }
    }

    fn request_session(&mut self, offer: &InitializeResponse) {
        if offer.protocol_version != ProtocolVersion::V1 {
            let version = json_rpc::value(&offer.protocol_version);
            return self.fail(&format!(
                "the agent speaks version {version} of ACP, promptd speaks version 1"
            ));
        }
        self.agent = offer
            .agent_info
            .as_ref()
            .map_or_else(String::new, |agent| agent.name.clone());
        let able = &offer.agent_capabilities;
        if let Err(error) = self.prompt.adapt(&able.prompt_capabilities) {
            return self.fail(&error);
        }
        let servers: Vec<_> = self
            .servers
            .iter()
            .map(|(name, server)| acp_server(name, server))
            .collect();
        if let Some((name, transport)) = missing_transport(&servers, &able.mcp_capabilities) {
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
                // Gemini starts to record a session as soon as it has the id, and looks for the session to load after
                // that. In the minute in which the session began, both are one file, and the recording destroys the
                // session. Gemini looks for the id without the space, but records under the id with it.
                let is_gemini = self.agent == GEMINI;
                let id = if is_gemini { format!(" {id}") } else { id };
                self.session = Some(id.clone());
                let load = LoadSessionRequest::new(id, cwd).mcp_servers(servers);
                self.request(SESSION, AGENT_METHOD_NAMES.session_load, &load);
            }
            Some(_) => self.fail("the agent cannot resume its session: it offers neither `session/resume` nor `session/load`; start a new session"),
        }
    }

    /// Requests the model if the agent offers it and uses another one (if not, the launch has set it), and then the mode in
    /// which the agent asks.
    fn prepare_session(&mut self, offer: &Offer) {
        let Some(session) = self.session.clone() else { return };
        let model = self.model.as_deref();
        let model = model.and_then(|model| offer.model_request(&session, model));
        let model = model.map(|(method, params)| (MODEL, method, params));
        self.preparations.extend(model);
        if let Some(mode) = self.ask_mode.as_ref().filter(|_| self.asks) {
            match ask_mode::request(offer, &session, &self.agent, mode.configured.as_deref()) {
                Ok(mode) => self
                    .preparations
                    .extend(mode.map(|(method, params)| (MODE, method, params))),
                Err(error) => return self.fail(&error),
            }
        }
        self.send_preparation();
    }

    fn send_preparation(&mut self) {
        match self.preparations.pop_front() {
            Some((id, method, params)) => self.request(id, method, &params),
            None => self.has_session = true,
        }
    }

    fn send_prompt(&mut self) {
        let Some(session) = self.session.clone() else { return };
        self.stage = Stage::Prompted;
        let prompt = json!({ "sessionId": session, "prompt": self.prompt.take() });
        self.request(PROMPT, AGENT_METHOD_NAMES.session_prompt, &prompt);
    }

    fn take_request(&mut self, id: RequestId, method: &str, params: &str) {
        if method == CLIENT_METHOD_NAMES.elicitation_create {
            return self.take_form(id, params);
        }
        if method != CLIENT_METHOD_NAMES.session_request_permission {
            return self.refuse(&id, METHOD_NOT_FOUND, "promptd offers no such method");
        }
        let Ok(asked) = serde_json::from_str::<RequestPermissionRequest>(params) else {
            return self.refuse(&id, INVALID_PARAMS, "these are not ACP's parameters for this method");
        };
        let options = responses::options(asked.options);
        if self.is_interrupted || options.is_empty() {
            return self.respond(&id, None);
        }
        if !self.asks {
            let allowed = [PermissionKind::AllowOnce, PermissionKind::AllowAlways]
                .iter()
                .find_map(|kind| options.iter().find(|option| option.kind == *kind));
            return self.respond(&id, allowed.map(|option| option.option_id.as_str()));
        }
        let call = self.calls.complete(json_rpc::value(&asked.tool_call));
        let title = Some(str_at(&call, "title")).filter(|title| !title.is_empty());
        let question = Question {
            id: String::new(),
            title: title.unwrap_or("a tool").to_owned(),
            options,
            tool_call: Some(call),
            ..Question::default()
        };
        let question = self.questions.open(Asked::Permission(id), question);
        self.due.push(Effect::Ask(question));
    }

    /// The agent asks for more than a yes.
    fn take_form(&mut self, id: RequestId, params: &str) {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        if str_at(&params, "mode") != "form" {
            return self.refuse(&id, INVALID_PARAMS, "promptd passes on forms only");
        }
        if self.is_interrupted || !self.asks {
            return self.respond_to_form(&id, responses::CANCEL_FORM, &AnswerDetails::default());
        }
        let question = Question {
            title: str_at(&params, "message").to_owned(),
            options: responses::form_options(),
            questions: form::questions(&params),
            ..Question::default()
        };
        let question = self.questions.open(Asked::Form(id), question);
        self.due.push(Effect::Ask(question));
    }

    fn respond_to_form(&mut self, id: &RequestId, action: &str, details: &AnswerDetails) {
        self.due.push(Effect::Write(responses::to_form(id, action, details)));
    }

    /// The agent has withdrawn a question. The protocol still requires a response.
    fn withdraw(&mut self, request: &RequestId) {
        if let Some(id) = self.questions.withdraw(|open| open.request() == request) {
            self.due.push(Effect::Withdraw(id));
            self.refuse(request, REQUEST_CANCELLED, "the request was cancelled");
        }
    }

    /// Answers a question of the agent: with an option, or that the turn is cancelled.
    fn respond(&mut self, id: &RequestId, option: Option<&str>) {
        self.due.push(Effect::Write(responses::to_permission(id, option)));
    }

    fn refuse(&mut self, id: &RequestId, code: i64, message: &str) {
        let error = json_rpc::error(code, message);
        let answer = json!({ "jsonrpc": "2.0", "id": id, "error": error });
        self.due.push(Effect::Write(json_rpc::line(&answer)));
    }

    fn request(&mut self, id: i64, method: &'static str, params: &impl Serialize) {
        self.awaited = method;
        let params = json_rpc::value(params);
        if id == SESSION {
            self.login.set_session_request(method, &params);
        }
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.due.push(Effect::Write(json_rpc::line(&request)));
    }

    fn fail(&mut self, error: &str) {
        self.observer.fail(Cause::AgentError, error);
    }

    fn close_if_finished(&mut self) {
        if self.stage != Stage::Over && self.observer.observation().final_event.is_some() {
            self.stage = Stage::Over;
            // An answer that comes now would be written after the end.
            drop(self.questions.close_all());
            self.due.push(Effect::Close);
        }
    }
}
