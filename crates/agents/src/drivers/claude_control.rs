//! The dialog with Claude Code, as seen with 2.1.329: `--input-format stream-json` and `--permission-prompt-tool stdio`,
//! the protocol of its SDKs.
//!
//! A line that is not JSON ends claude at once. Claude responds to an interrupt within milliseconds, withdraws its open
//! questions, and writes a `result`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::claude_grants;
use super::driver::{CANCELLED, Driver, Effect, Question};
use super::questions::Questions;
use crate::formats::claude::ClaudeObserver;
use crate::launch::request::TurnRequest;
use crate::output::json_rpc;
use crate::output::lenient::default_on_error;
use crate::output::observer::Observer;
use crate::output::tool;
use promptd_model::{
    AnswerChoice, AnswerDetails, AskedQuestion, ContentBlock, Observation, PermissionKind, PermissionMode,
    PermissionOption, Stream,
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
    input: Value,
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
                let request = line.request();
                self.take_request(line.request_id, request);
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
            let grant = asked.grant(option).cloned();
            let mut input = details.updated_input.clone().unwrap_or(asked.input);
            if let (Value::Object(members), false) = (&mut input, details.answers.is_empty()) {
                let answers = details.answers.iter();
                let answers =
                    answers.map(|(question, answer)| (question.clone(), AskedQuestion::text_of(answer).into()));
                members.insert("answers".to_owned(), Value::Object(answers.collect()));
            }
            let reason = details.reason.as_deref().unwrap_or("The user does not allow this.");
            let decision = match (option, grant) {
                (_, Some(grant)) => json!({
                    "behavior": "allow",
                    "updatedInput": input,
                    "updatedPermissions": [grant],
                }),
                (ALLOW, None) => json!({ "behavior": "allow", "updatedInput": input }),
                (_, None) => json!({ "behavior": "deny", "message": reason }),
            };
            self.respond(&json!({ "subtype": "success", "request_id": asked.request_id, "response": decision }));
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

    fn observe_written(&mut self, line: &[u8]) {
        if let Ok(line) = serde_json::from_slice::<Line<'_>>(line)
            && line.kind == "control_request"
            && subtype_of(line.request().as_ref()) == Some("interrupt")
        {
            self.interrupt();
        }
    }
}

/// The tool with which claude asks its user.
const ASK: &str = "AskUserQuestion";

/// The questions of that tool. Their answers go by the text of the question.
fn questions_of(input: &Value) -> Vec<AskedQuestion> {
    let text = |of: &Value, name: &str| of[name].as_str().map(str::to_owned);
    let asked = input["questions"].as_array().into_iter().flatten();
    let questions = asked.filter_map(|asked| {
        let choices = asked["options"].as_array().into_iter().flatten();
        let choices = choices.filter_map(|choice| {
            Some(AnswerChoice {
                value: text(choice, "label")?,
                label: None,
                description: text(choice, "description"),
            })
        });
        let question = text(asked, "question")?;
        Some(AskedQuestion {
            id: question.clone(),
            text: question,
            header: text(asked, "header"),
            choices: choices.collect(),
            multiple: asked["multiSelect"] == true,
            free_text: true,
            required: true,
            ..AskedQuestion::default()
        })
    });
    questions.collect()
}

impl ClaudeControl {
    fn take_request(&mut self, request_id: String, request: Option<Value>) {
        let refuse = |error: &str| json!({ "subtype": "error", "request_id": request_id, "error": error });
        let Some(mut request) = request else {
            return self.respond(&refuse("promptd cannot read this request"));
        };
        if subtype_of(Some(&request)) != Some("can_use_tool") {
            return self.respond(&refuse("promptd offers no such request"));
        }
        if self.is_interrupted {
            // Claude withdraws its questions.
            return;
        }
        if !self.asks {
            let input = request.get_mut("input").map(Value::take).unwrap_or_default();
            let decision = json!({ "behavior": "allow", "updatedInput": input });
            return self.respond(&json!({ "subtype": "success", "request_id": request_id, "response": decision }));
        }
        let mut take = |name: &str| request.get_mut(name).map(Value::take).unwrap_or_default();
        let (input, suggestions) = (take("input"), take("permission_suggestions"));
        let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
        let questions = if text("tool_name") == ASK {
            questions_of(&input)
        } else {
            Vec::new()
        };
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
        let call = tool::pending(text("tool_use_id"), text("tool_name"), input.clone());
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
            request_id,
            input,
            grants,
        };
        let question = self.questions.open(asked, question);
        self.due.push(Effect::Ask(question));
    }

    fn respond(&mut self, response: &Value) {
        let response = json!({ "type": "control_response", "response": response });
        self.due.push(Effect::Write(json_rpc::line(&response)));
    }
}
