//! The state of the dialog: thread, prompt, interrupt, and open questions.

use std::collections::BTreeMap;

use agent_client_protocol_schema::v1::RequestId;
use serde_json::{Map, Value, json};

use super::approvals::{
    Choice, Subject, elicitation_choices, item_choices, pending_call, user_input_choices, user_input_questions,
    user_input_response,
};
use crate::drivers::driver::{CANCELLED, Driver, Effect, Question, Stage};
use crate::drivers::form;
use crate::drivers::questions::Questions;
use crate::formats::app_server::AppServerObserver;
use crate::formats::app_server::wire::{INITIALIZE, INTERRUPT, THREAD, TURN};
use crate::launch::request::TurnRequest;
use crate::output::lines::json_rpc::{self, METHOD_NOT_FOUND, Message};
use crate::output::observer::Observer;
use crate::output::tools::tool::{self, str_at};
use promptd_model::{AnswerDetails, ContentBlock, Observation, PermissionMode, Stream};

/// The driver for one attempt of a turn.
pub(crate) fn new(request: &TurnRequest<'_>) -> Box<dyn Driver> {
    let resumed = request.resumed_session();
    let mut driver = AppServer {
        input: input_of(request.prompt, request.blocks),
        asks: request.permission == PermissionMode::Ask,
        cwd: request.cwd.to_string_lossy().into_owned(),
        model: request.model.map(str::to_owned),
        resumed: resumed.map(str::to_owned),
        observer: resumed.map_or_else(AppServerObserver::default, |_| AppServerObserver::resuming()),
        changes: BTreeMap::new(),
        questions: Questions::default(),
        stage: Stage::Opening,
        awaited: "initialize",
        steers: Vec::new(),
        unanswered: BTreeMap::new(),
        is_interrupted: false,
        is_interrupt_sent: false,
        due: Vec::new(),
    };
    let ours = json!({ "name": "promptd", "title": "promptd", "version": env!("CARGO_PKG_VERSION") });
    driver.request(INITIALIZE, "initialize", &json!({ "clientInfo": ours }));
    Box::new(driver)
}

/// A prompt as codex takes it.
fn input_of(text: &str, blocks: &[ContentBlock]) -> Value {
    if blocks.is_empty() {
        return json!([{ "type": "text", "text": text }]);
    }
    let items = blocks.iter().map(|block| match block.file() {
        Some((data, mime)) => json!({ "type": "image", "url": format!("data:{mime};base64,{data}") }),
        None => json!({ "type": "text", "text": block.as_text() }),
    });
    items.collect()
}

struct AppServer {
    /// The prompt, as codex takes it.
    input: Value,
    asks: bool,
    cwd: String,
    model: Option<String>,
    resumed: Option<String>,
    observer: AppServerObserver,
    /// Edits that have started, by item: the question has only the id of the item.
    changes: BTreeMap<String, Value>,
    questions: Questions<OpenQuestion>,
    stage: Stage,
    /// Our last request.
    awaited: &'static str,
    /// Messages that wait for the turn's id, as requests need it.
    steers: Vec<(i64, Value)>,
    /// The numbers of the messages that the agent has neither taken nor refused, by the ids of their requests.
    unanswered: BTreeMap<i64, u64>,
    is_interrupted: bool,
    /// The agent has the interrupt.
    is_interrupt_sent: bool,
    due: Vec<Effect>,
}

/// What an answer has to contain.
#[derive(Debug)]
struct OpenQuestion {
    id: RequestId,
    /// Codex's own tool asks, which takes answers in another form than MCP servers.
    is_user_input: bool,
    /// The response for each option.
    responses: BTreeMap<String, Value>,
}

impl Observer for AppServer {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        self.observer.observe_line(stream, line);
        if stream == Stream::Stderr || self.stage == Stage::Over {
            return;
        }
        match json_rpc::parse(line) {
            Some(Message::Result { id, .. }) => self.take_response(&id),
            Some(Message::Request { id, method, params }) => self.take_request(id, &method, params),
            Some(Message::Notification { method, params }) => self.take_notification(&method, params),
            // The turn was just over, or takes no messages, such as a review.
            Some(Message::Error { id, .. }) => self.take_steered(&id, false),
            None => {}
        }
        self.close_if_finished();
    }

    fn observation(&self) -> &Observation {
        self.observer.observation()
    }
}

impl Driver for AppServer {
    fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.due)
    }

    fn answer(&mut self, id: &str, option: &str, details: &AnswerDetails) {
        if option == CANCELLED {
            self.interrupt();
        } else if let Some(mut open) = self.questions.close(id, option) {
            let mut response = open.responses.remove(option).unwrap_or_default();
            if open.is_user_input {
                response = user_input_response(&details.answers);
            } else if let (Value::Object(members), false) = (&mut response, details.answers.is_empty()) {
                members.insert("content".to_owned(), Value::Object(details.answers.clone()));
            }
            self.write(&json!({ "id": open.id, "result": response }));
        }
    }

    fn steer(&mut self, number: u64, text: &str, blocks: &[ContentBlock]) -> bool {
        if self.is_interrupted || self.stage == Stage::Over {
            return false;
        }
        let id = i64::try_from(number).unwrap_or(i64::MAX).saturating_add(INTERRUPT);
        self.steers.push((id, input_of(text, blocks)));
        self.unanswered.insert(id, number);
        self.send_steers();
        true
    }

    fn interrupt(&mut self) {
        if self.is_interrupted || self.stage == Stage::Over {
            return;
        }
        self.is_interrupted = true;
        // They end with the turn.
        self.questions.close_all();
        if self.stage == Stage::Prompted {
            self.send_interrupt();
        } else {
            self.observer.cancel();
            self.close_if_finished();
        }
    }

    fn observe_written(&mut self, line: &[u8]) -> bool {
        let is_interrupt =
            matches!(json_rpc::parse(line), Some(Message::Request { method, .. }) if method == "turn/interrupt");
        if is_interrupt {
            self.interrupt();
        }
        is_interrupt
    }

    fn awaited_method(&self) -> Option<&'static str> {
        (self.stage == Stage::Opening).then_some(self.awaited)
    }

    fn give_up(&mut self, error: &str) {
        if self.stage == Stage::Opening {
            self.observer.fail(error);
            self.close_if_finished();
        }
    }
}

impl AppServer {
    fn take_response(&mut self, id: &RequestId) {
        match id {
            RequestId::Number(INITIALIZE) => self.open(),
            RequestId::Number(THREAD) => self.send_prompt(),
            // The interrupt waited for the turn's id.
            RequestId::Number(TURN) if self.is_interrupted => self.send_interrupt(),
            RequestId::Number(TURN) => self.send_steers(),
            _ => self.take_steered(id, true),
        }
    }

    fn take_steered(&mut self, id: &RequestId, taken: bool) {
        let RequestId::Number(id) = id else { return };
        let number = self.unanswered.remove(id);
        self.due.extend(number.map(|number| Effect::Steered { number, taken }));
    }

    fn open(&mut self) {
        self.write(&json!({ "method": "initialized" }));
        let mut params = Map::new();
        params.insert("cwd".to_owned(), json!(self.cwd));
        params.insert(
            "approvalPolicy".to_owned(),
            json!(if self.asks { "untrusted" } else { "never" }),
        );
        params.insert("sandbox".to_owned(), json!("danger-full-access"));
        if let Some(model) = &self.model {
            params.insert("model".to_owned(), json!(model));
        }
        let method = match &self.resumed {
            Some(thread) => {
                params.insert("threadId".to_owned(), json!(thread));
                params.insert("excludeTurns".to_owned(), json!(true));
                "thread/resume"
            }
            None => "thread/start",
        };
        self.request(THREAD, method, &Value::Object(params));
    }

    fn send_prompt(&mut self) {
        let Some(thread) = self.observer.thread() else {
            return self.observer.fail("the agent began a session without an id");
        };
        let params = json!({ "threadId": thread, "input": self.input.take() });
        self.stage = Stage::Prompted;
        self.request(TURN, "turn/start", &params);
    }

    fn send_steers(&mut self) {
        let (Some(thread), Some(turn)) = (self.observer.thread(), self.observer.turn()) else {
            return;
        };
        let (thread, turn) = (thread.to_owned(), turn.to_owned());
        for (id, input) in std::mem::take(&mut self.steers) {
            let params = json!({ "threadId": thread, "expectedTurnId": turn, "input": input });
            self.write(&json!({ "id": id, "method": "turn/steer", "params": params }));
        }
    }

    fn send_interrupt(&mut self) {
        if let (Some(thread), Some(turn), false) =
            (self.observer.thread(), self.observer.turn(), self.is_interrupt_sent)
        {
            let params = json!({ "threadId": thread, "turnId": turn });
            self.is_interrupt_sent = true;
            self.request(INTERRUPT, "turn/interrupt", &params);
        }
    }

    fn take_notification(&mut self, method: &str, params: &str) {
        if !matches!(method, "item/started" | "item/completed" | "serverRequest/resolved") {
            return;
        }
        let Ok(mut params) = serde_json::from_str::<Value>(params) else {
            return;
        };
        if method == "serverRequest/resolved" {
            // It comes after our own answer, too, when the question is closed.
            let resolved = params.get_mut("requestId").map(Value::take).unwrap_or_default();
            let id = self.questions.withdraw(|open| json_rpc::value(&open.id) == resolved);
            return self.due.extend(id.map(Effect::Withdraw));
        }
        let item = params.get_mut("item").map(Value::take).unwrap_or_default();
        if str_at(&item, "type") == "fileChange" {
            let id = str_at(&item, "id").to_owned();
            if method == "item/started" {
                self.changes.insert(id, item);
            } else {
                self.changes.remove(&id);
            }
        }
    }

    fn take_request(&mut self, id: RequestId, method: &str, params: &str) {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        let item = str_at(&params, "itemId");
        let mut questions = form::questions(&params);
        let (call, choices): (_, Vec<Choice>) = match method {
            "item/commandExecution/requestApproval" => {
                let subject = Subject::of_command(&params);
                let mut call = pending_call(item, "commandExecution", &params);
                if let Subject::Host(host) = &subject {
                    call.fields.title = Some(format!("connect to {host}"));
                }
                (call, item_choices(&subject, &params))
            }
            "item/fileChange/requestApproval" => {
                let change = self.changes.get(item).unwrap_or(&Value::Null);
                let call = pending_call(item, "fileChange", change);
                (call, item_choices(&Subject::Files, &params))
            }
            "item/tool/requestUserInput" => {
                questions = user_input_questions(&params);
                let input = json!({ "questions": params.get("questions") });
                let call = tool::pending(item, "request_user_input", input);
                (call, user_input_choices())
            }
            "mcpServer/elicitation/request" => {
                let words = ["serverName", "message", "url"].map(|name| str_at(&params, name));
                let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
                let call = tool::pending(str_at(&params, "elicitationId"), &name.join(": "), Value::Null);
                (call, elicitation_choices())
            }
            _ => {
                let error = json_rpc::error(METHOD_NOT_FOUND, "promptd offers no such method");
                return self.write(&json!({ "id": id, "error": error }));
            }
        };
        if self.is_interrupted {
            return;
        }
        if !self.asks {
            // Nobody fills a form in.
            let is_form = !questions.is_empty();
            let choice = if is_form {
                choices.into_iter().next_back()
            } else {
                choices.into_iter().next()
            };
            return self.write(&json!({ "id": id, "result": choice.map(|choice| choice.response) }));
        }
        let options = choices.iter().map(|choice| choice.option.clone()).collect();
        let responses = choices
            .into_iter()
            .map(|choice| (choice.option.option_id, choice.response));
        let open = OpenQuestion {
            id,
            is_user_input: method == "item/tool/requestUserInput",
            responses: responses.collect(),
        };
        let question = Question {
            id: String::new(),
            title: call.fields.title.clone().unwrap_or_default(),
            options,
            tool_call: Some(json_rpc::value(&call)),
            questions,
            ..Question::default()
        };
        let question = self.questions.open(open, question);
        self.due.push(Effect::Ask(question));
    }

    fn request(&mut self, id: i64, method: &'static str, params: &Value) {
        self.awaited = method;
        self.write(&json!({ "id": id, "method": method, "params": params }));
    }

    fn write(&mut self, message: &Value) {
        self.due.push(Effect::Write(json_rpc::line(message)));
    }

    fn close_if_finished(&mut self) {
        if self.stage != Stage::Over && self.observer.observation().final_event.is_some() {
            self.stage = Stage::Over;
            // An answer that comes now would be written after the end.
            drop(self.questions.close_all());
            // What it has not taken by now is no part of this turn.
            let refused = std::mem::take(&mut self.unanswered).into_values();
            self.due
                .extend(refused.map(|number| Effect::Steered { number, taken: false }));
            self.due.push(Effect::Close);
        }
    }
}
