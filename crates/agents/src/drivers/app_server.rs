//! Talks with `codex app-server`, as seen with 0.169.0: one turn, and the answers to its questions.
//!
//! `approvalPolicy: untrusted` makes it ask before every command that it does not know to change nothing, and before
//! every edit; `sandbox: danger-full-access`, because whoever allows a command allows it in full: the box around all
//! is the machine.

use std::collections::BTreeMap;

use agent_client_protocol_schema::v1::{RequestId, ToolCallUpdate};
use serde_json::{Map, Value, json};

use super::super::formats::app_server::{INITIALIZE, INTERRUPT, Reader, THREAD, TURN, call};
use super::super::formats::tool::{self, string};
use super::super::json_rpc::{self, METHOD_NOT_FOUND, Message};
use super::super::{Observer, TurnRequest};
use super::{CANCELLED, Driver, Effect, Question, Questions, Stage};
use promptd_model::{Observation, PermissionKind, PermissionOption, Stream};

/// The driver for one attempt of a turn.
pub(crate) fn driver(request: &TurnRequest<'_>) -> Box<dyn Driver> {
    let resumed = request.agent_session_id.filter(|_| !request.first_turn);
    let mut driver = AppServer {
        prompt: request.prompt.to_owned(),
        cwd: request.cwd.to_string_lossy().into_owned(),
        model: request.model.map(str::to_owned),
        resumed: resumed.map(str::to_owned),
        reader: resumed.map_or_else(Reader::default, |_| Reader::resuming()),
        changes: BTreeMap::new(),
        questions: Questions::default(),
        stage: Stage::Opening,
        is_interrupted: false,
        has_told_so: false,
        due: Vec::new(),
    };
    let ours = json!({ "name": "promptd", "title": "promptd", "version": env!("CARGO_PKG_VERSION") });
    driver.request(INITIALIZE, "initialize", &json!({ "clientInfo": ours }));
    Box::new(driver)
}

struct AppServer {
    prompt: String,
    cwd: String,
    model: Option<String>,
    resumed: Option<String>,
    reader: Reader,
    /// Edits that have begun, by their items: the question names no more than the item.
    changes: BTreeMap<String, Value>,
    questions: Questions<Asked>,
    stage: Stage,
    is_interrupted: bool,
    /// The agent knows of the interrupt.
    has_told_so: bool,
    due: Vec<Effect>,
}

/// What an answer needs.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    /// The decision behind each option.
    decisions: BTreeMap<String, Value>,
}

impl Observer for AppServer {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        self.reader.line(stream, line);
        if stream == Stream::Stderr || self.stage == Stage::Over {
            return;
        }
        match json_rpc::parse(line) {
            Some(Message::Result { id, .. }) => self.answered(&id),
            Some(Message::Request { id, method, params }) => self.requested(id, &method, params),
            Some(Message::Notification { method, params }) => self.notified(&method, params),
            Some(Message::Error { .. }) | None => {}
        }
        self.close_at_the_end();
    }

    fn observation(&self) -> &Observation {
        self.reader.observation()
    }
}

impl Driver for AppServer {
    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.due)
    }

    fn answer(&mut self, id: &str, option: &str) {
        if option == CANCELLED {
            self.interrupt();
        } else if let Some(mut asked) = self.questions.answer(id, option) {
            let decision = asked.decisions.remove(option).unwrap_or_default();
            self.say(&json!({ "id": asked.id, "result": decision }));
        }
    }

    fn interrupt(&mut self) {
        if self.is_interrupted || self.stage == Stage::Over {
            return;
        }
        self.is_interrupted = true;
        // They are void with the turn.
        self.questions.take();
        if self.stage == Stage::Prompted {
            self.tell_of_interrupt();
        } else {
            self.reader.cancelled();
            self.close_at_the_end();
        }
    }

    fn wrote(&mut self, line: &[u8]) {
        if let Some(Message::Request { method, .. }) = json_rpc::parse(line)
            && method == "turn/interrupt"
        {
            self.interrupt();
        }
    }
}

impl AppServer {
    fn answered(&mut self, id: &RequestId) {
        match id {
            RequestId::Number(INITIALIZE) => self.open(),
            RequestId::Number(THREAD) => self.say_the_prompt(),
            // An interrupt had to wait for the turn's id.
            RequestId::Number(TURN) if self.is_interrupted => self.tell_of_interrupt(),
            _ => {}
        }
    }

    fn open(&mut self) {
        self.say(&json!({ "method": "initialized" }));
        let mut params = Map::new();
        params.insert("cwd".to_owned(), json!(self.cwd));
        params.insert("approvalPolicy".to_owned(), json!("untrusted"));
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

    fn say_the_prompt(&mut self) {
        let Some(thread) = self.reader.thread() else {
            return self.reader.fail("the agent began a session without an id");
        };
        let input = json!([{ "type": "text", "text": self.prompt }]);
        let params = json!({ "threadId": thread, "input": input });
        self.prompt = String::new();
        self.stage = Stage::Prompted;
        self.request(TURN, "turn/start", &params);
    }

    fn tell_of_interrupt(&mut self) {
        if let (Some(thread), Some(turn), false) = (self.reader.thread(), self.reader.turn(), self.has_told_so) {
            let params = json!({ "threadId": thread, "turnId": turn });
            self.has_told_so = true;
            self.request(INTERRUPT, "turn/interrupt", &params);
        }
    }

    fn notified(&mut self, method: &str, params: &str) {
        if !matches!(method, "item/started" | "item/completed" | "serverRequest/resolved") {
            return;
        }
        let Ok(mut params) = serde_json::from_str::<Value>(params) else {
            return;
        };
        if method == "serverRequest/resolved" {
            // Behind our own answer, too: then it is not open any more.
            let resolved = params.get_mut("requestId").map(Value::take).unwrap_or_default();
            let id = self.questions.withdraw(|asked| json_rpc::value(&asked.id) == resolved);
            return self.due.extend(id.map(Effect::Withdraw));
        }
        let item = params.get_mut("item").map(Value::take).unwrap_or_default();
        if string(&item, "type") == "fileChange" {
            let id = string(&item, "id").to_owned();
            if method == "item/started" {
                self.changes.insert(id, item);
            } else {
                self.changes.remove(&id);
            }
        }
    }

    fn requested(&mut self, id: RequestId, method: &str, params: &str) {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        let item = string(&params, "itemId");
        let (call, choices) = match method {
            "item/commandExecution/requestApproval" => {
                let available = params.get("availableDecisions").and_then(Value::as_array);
                (asked(item, "commandExecution", &params), decisions(available))
            }
            "item/fileChange/requestApproval" => {
                let change = self.changes.get(item).unwrap_or(&Value::Null);
                (asked(item, "fileChange", change), decisions(None))
            }
            "mcpServer/elicitation/request" => {
                let name = format!("{}: {}", string(&params, "serverName"), string(&params, "message"));
                let call = tool::asked(string(&params, "elicitationId"), &name, Value::Null);
                (call, actions())
            }
            _ => {
                let error = json_rpc::error(METHOD_NOT_FOUND, "promptd offers no such method");
                return self.say(&json!({ "id": id, "error": error }));
            }
        };
        if self.is_interrupted {
            return;
        }
        let (options, answers): (Vec<_>, Vec<_>) = choices.into_iter().unzip();
        let ids = options.iter().map(|option: &PermissionOption| option.option_id.clone());
        let asked = Asked {
            id,
            decisions: ids.zip(answers).collect(),
        };
        let question = Question {
            id: String::new(),
            title: call.fields.title.clone().unwrap_or_default(),
            options,
            tool_call: Some(json_rpc::value(&call)),
        };
        let question = self.questions.ask(asked, question);
        self.due.push(Effect::Ask(question));
    }

    fn request(&mut self, id: i64, method: &str, params: &Value) {
        self.say(&json!({ "id": id, "method": method, "params": params }));
    }

    fn say(&mut self, message: &Value) {
        self.due.push(Effect::Write(json_rpc::line(message)));
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

fn asked(id: &str, kind: &str, item: &Value) -> ToolCallUpdate {
    let (name, input) = call(kind, item).unwrap_or_default();
    tool::asked(id, &name, input)
}

/// The options of a question, and what answers it then. The agent takes `decline` and `acceptForSession` where it does
/// not name them, too.
fn decisions(available: Option<&Vec<Value>>) -> Vec<(PermissionOption, Value)> {
    let always = available.into_iter().flatten().find(|decision| {
        let amendment = decision.get("acceptWithExecpolicyAmendment");
        amendment.is_some()
    });
    let mut choices = vec![choice("accept", "Allow", PermissionKind::AllowOnce, json!("accept"))];
    let name = "Allow for the rest of the turn";
    let decision = json!("acceptForSession");
    choices.push(choice("acceptForSession", name, PermissionKind::AllowAlways, decision));
    if let Some(decision) = always {
        let name = "Allow commands that begin so from now on";
        let id = "acceptWithExecpolicyAmendment";
        choices.push(choice(id, name, PermissionKind::AllowAlways, decision.clone()));
    }
    choices.push(choice(
        "decline",
        "Reject",
        PermissionKind::RejectOnce,
        json!("decline"),
    ));
    choices
}

fn choice(id: &str, name: &str, kind: PermissionKind, decision: Value) -> (PermissionOption, Value) {
    (Question::option(id, name, kind), json!({ "decision": decision }))
}

/// The options where a server of tools asks, or codex asks for it.
fn actions() -> Vec<(PermissionOption, Value)> {
    let accept = Question::option("accept", "Allow", PermissionKind::AllowOnce);
    let decline = Question::option("decline", "Reject", PermissionKind::RejectOnce);
    vec![
        (accept, json!({ "action": "accept", "content": {} })),
        (decline, json!({ "action": "decline" })),
    ]
}
