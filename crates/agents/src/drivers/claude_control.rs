//! The dialog with Claude Code, as seen with 2.1.329: `--input-format stream-json` and `--permission-prompt-tool stdio`,
//! the protocol of its SDKs.
//!
//! A line that is not JSON ends claude at once. Claude responds to an interrupt within milliseconds, withdraws its open
//! questions, and writes a `result`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::claude_grants;
use super::driver::{CANCELLED, Driver, Effect, Question};
use super::form::labelled_choices;
use super::questions::Questions;
use crate::formats::claude::ClaudeObserver;
use crate::launch::request::TurnRequest;
use crate::output::lines::json_rpc;
use crate::output::lines::lenient::default_on_error;
use crate::output::observer::Observer;
use crate::output::tools::tool;
use promptd_model::{
    AnswerDetails, AskedQuestion, ContentBlock, Observation, PermissionKind, PermissionMode, PermissionOption, Stream,
};

/// The driver for one attempt of a turn.
pub(crate) fn new(request: &TurnRequest<'_>) -> Box<dyn Driver> {
    let content = content_of(request.prompt, request.blocks);
    let prompt = json!({ "type": "user", "message": { "role": "user", "content": content } });
    Box::new(ClaudeControl {
        observer: ClaudeObserver::default(),
        asks: request.permission == PermissionMode::Ask,
        questions: Questions::default(),
        is_interrupted: false,
        is_over: false,
        due: vec![Effect::Write(json_rpc::line(&prompt))],
    })
}

/// A prompt in the format of the model's API.
fn content_of(text: &str, blocks: &[ContentBlock]) -> Value {
    if blocks.is_empty() {
        return json!([{ "type": "text", "text": text }]);
    }
    blocks.iter().map(content_block).collect()
}

fn content_block(block: &ContentBlock) -> Value {
    let Some((data, mime)) = block.file() else {
        return json!({ "type": "text", "text": block.as_text() });
    };
    let kind = if mime.starts_with("image/") {
        "image"
    } else {
        "document"
    };
    json!({ "type": kind, "source": { "type": "base64", "media_type": mime, "data": data } })
}

struct ClaudeControl {
    observer: ClaudeObserver,
    asks: bool,
    questions: Questions<OpenQuestion>,
    is_interrupted: bool,
    is_over: bool,
    due: Vec<Effect>,
}

/// What an answer has to contain.
#[derive(Debug)]
struct OpenQuestion {
    request_id: String,
    /// As claude wrote it: a number that would be rounded is another call.
    input: Box<RawValue>,
    /// The options that also change claude's permissions.
    grants: Vec<PermissionOption>,
}

impl OpenQuestion {
    /// The change that an option stands for; nothing more.
    fn grant(&self, option: &str) -> Option<&Value> {
        let chosen = self.grants.iter().find(|grant| grant.option_id == option)?;
        chosen.grant.as_ref()
    }
}

const ALLOW: &str = "allow";
/// An option of former versions, which granted all that claude suggested. Questions that they asked may still be open.
const FORMER_ALWAYS: &str = "allow_always";
const REJECT: &str = "reject";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "default_on_error")]
    request_id: String,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

impl Line<'_> {
    /// The request; `None` if it is no valid JSON, such as half a surrogate pair, which JavaScript can write.
    fn request(&self) -> Option<Value> {
        serde_json::from_str(self.request?.get()).ok()
    }

    /// The input of the tool that the request is about.
    fn input(&self) -> &RawValue {
        #[derive(Deserialize)]
        struct Call<'a> {
            #[serde(borrow)]
            input: Option<&'a RawValue>,
        }
        let request = self.request.map(RawValue::get).unwrap_or_default();
        let call: Option<Call<'_>> = serde_json::from_str(request).ok();
        call.and_then(|call| call.input).unwrap_or(RawValue::NULL)
    }
}

/// The decision about a call of a tool.
#[derive(Serialize)]
#[serde(tag = "behavior", rename_all = "lowercase")]
enum Decision<'a> {
    #[serde(rename_all = "camelCase")]
    Allow {
        updated_input: &'a RawValue,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        updated_permissions: Vec<&'a Value>,
    },
    Deny {
        message: &'a str,
    },
}

#[derive(Serialize)]
struct DecisionResponse<'a> {
    subtype: &'static str,
    request_id: &'a str,
    response: &'a Decision<'a>,
}

#[derive(Serialize)]
struct ControlResponse<'a, R> {
    #[serde(rename = "type")]
    kind: &'static str,
    response: &'a R,
}

/// The input with which the tool is called: claude's own, where nothing in it changes.
fn input_of(own: &RawValue, details: &AnswerDetails) -> Option<Box<RawValue>> {
    if details.updated_input.is_none() && details.answers.is_empty() {
        return None;
    }
    let given = details.updated_input.clone();
    let mut input = given.unwrap_or_else(|| serde_json::from_str(own.get()).unwrap_or_default());
    if let (Value::Object(members), false) = (&mut input, details.answers.is_empty()) {
        let answers = details.answers.iter();
        let answers = answers.map(|(question, answer)| (question.clone(), AskedQuestion::text_of(answer).into()));
        members.insert("answers".to_owned(), Value::Object(answers.collect()));
    }
    to_raw_value(&input).ok()
}

fn subtype_of(request: Option<&Value>) -> Option<&str> {
    request?.get("subtype")?.as_str()
}

impl Observer for ClaudeControl {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        self.observer.observe_line(stream, line);
        if stream == Stream::Stderr || self.is_over {
            return;
        }
        if let Ok(line) = serde_json::from_slice::<Line<'_>>(line) {
            if line.kind == "control_request" {
                self.take_request(&line);
            } else if line.kind == "control_cancel_request" {
                let id = self.questions.withdraw(|asked| asked.request_id == line.request_id);
                self.due.extend(id.map(Effect::Withdraw));
            }
        }
        // Background work may still ask.
        let seen = self.observation();
        if seen.final_event.is_some() && (!seen.busy || self.is_interrupted) {
            self.is_over = true;
            // An answer that comes now would be written after the end.
            drop(self.questions.close_all());
            self.due.push(Effect::Close);
        }
    }

    fn observation(&self) -> &Observation {
        self.observer.observation()
    }
}

impl Driver for ClaudeControl {
    fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.due)
    }

    fn answer(&mut self, id: &str, option: &str, details: &AnswerDetails) {
        let option = if option == FORMER_ALWAYS { ALLOW } else { option };
        if option == CANCELLED {
            self.interrupt();
        } else if let Some(asked) = self.questions.close(id, option) {
            let grant = asked.grant(option);
            let input = input_of(&asked.input, details);
            let decision = if option == ALLOW || grant.is_some() {
                Decision::Allow {
                    updated_input: input.as_deref().unwrap_or(&asked.input),
                    updated_permissions: grant.into_iter().collect(),
                }
            } else {
                let message = details.reason.as_deref().unwrap_or("The user does not allow this.");
                Decision::Deny { message }
            };
            self.decide(&asked.request_id, &decision);
        }
    }

    fn steer(&mut self, number: u64, text: &str, blocks: &[ContentBlock]) -> bool {
        if self.is_interrupted || self.is_over {
            return false;
        }
        let content = content_of(text, blocks);
        // With an id, claude reports when it takes the message up.
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        let message = json!({ "type": "user", "uuid": id, "message": { "role": "user", "content": content } });
        self.due.push(Effect::Write(json_rpc::line(&message)));
        false
    }

    fn interrupt(&mut self) {
        if self.is_interrupted || self.is_over {
            return;
        }
        self.is_interrupted = true;
        self.questions.close_all();
        let request = json!({ "subtype": "interrupt" });
        let interrupt = json!({ "type": "control_request", "request_id": "interrupt", "request": request });
        self.due.push(Effect::Write(json_rpc::line(&interrupt)));
    }

    fn observe_written(&mut self, line: &[u8]) -> bool {
        let line = serde_json::from_slice::<Line<'_>>(line).ok();
        let request = line.filter(|line| line.kind == "control_request");
        let is_interrupt = request.is_some_and(|line| subtype_of(line.request().as_ref()) == Some("interrupt"));
        if is_interrupt {
            self.interrupt();
        }
        is_interrupt
    }
}

/// The tool with which claude asks its user.
const ASK: &str = "AskUserQuestion";

/// The questions of that tool. Their answers go by the text of the question.
fn questions_of(input: &Value) -> Vec<AskedQuestion> {
    let text = |of: &Value, name: &str| of[name].as_str().map(str::to_owned);
    let asked = input["questions"].as_array().into_iter().flatten();
    let questions = asked.filter_map(|asked| {
        let question = text(asked, "question")?;
        Some(AskedQuestion {
            id: question.clone(),
            text: question,
            header: text(asked, "header"),
            choices: labelled_choices(asked),
            multiple: asked["multiSelect"] == true,
            free_text: true,
            required: true,
            ..AskedQuestion::default()
        })
    });
    questions.collect()
}

impl ClaudeControl {
    fn take_request(&mut self, line: &Line<'_>) {
        let request_id = &line.request_id;
        let refuse = |error: &str| json!({ "subtype": "error", "request_id": request_id, "error": error });
        let Some(mut request) = line.request() else {
            return self.respond(&refuse("promptd cannot read this request"));
        };
        if subtype_of(Some(&request)) != Some("can_use_tool") {
            return self.respond(&refuse("promptd offers no such request"));
        }
        if self.is_interrupted {
            // Claude withdraws its questions.
            return;
        }
        let own_input = line.input();
        let is_form = request.get("tool_name").is_some_and(|name| name == ASK);
        if !self.asks {
            let decision = if is_form {
                let message = "Nobody is there to answer. Decide it yourself, and say in your answer what you decided.";
                Decision::Deny { message }
            } else {
                Decision::Allow {
                    updated_input: own_input,
                    updated_permissions: Vec::new(),
                }
            };
            return self.decide(request_id, &decision);
        }
        let mut take = |name: &str| request.get_mut(name).map(Value::take).unwrap_or_default();
        let (input, suggestions) = (take("input"), take("permission_suggestions"));
        let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
        let questions = if is_form { questions_of(&input) } else { Vec::new() };
        // Then a rule would allow more than what is asked, or would not be obeyed.
        let is_for_once = request
            .get("suppress_always_allow_rule")
            .is_some_and(|is_so| *is_so == true)
            || request.get("matched_ask_rule").is_some_and(|rule| !rule.is_null());
        let grants = if is_for_once {
            Vec::new()
        } else {
            claude_grants::options(&suggestions)
        };
        let call = tool::pending(text("tool_use_id"), text("tool_name"), input);
        let mut options = vec![Question::option(ALLOW, "Allow", PermissionKind::AllowOnce)];
        options.extend_from_slice(&grants);
        options.push(Question::option(REJECT, "Reject", PermissionKind::RejectOnce));
        let question = Question {
            id: String::new(),
            title: call.fields.title.clone().unwrap_or_default(),
            options,
            tool_call: Some(json_rpc::value(&call)),
            questions,
            takes_input: true,
            takes_reason: true,
        };
        let asked = OpenQuestion {
            request_id: request_id.clone(),
            input: own_input.to_owned(),
            grants,
        };
        let question = self.questions.open(asked, question);
        self.due.push(Effect::Ask(question));
    }

    fn decide(&mut self, request_id: &str, decision: &Decision<'_>) {
        self.respond(&DecisionResponse {
            subtype: "success",
            request_id,
            response: decision,
        });
    }

    fn respond(&mut self, response: &impl Serialize) {
        let response = ControlResponse {
            kind: "control_response",
            response,
        };
        self.due.push(Effect::Write(json_rpc::line(&response)));
    }
}
