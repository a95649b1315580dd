//! Talks with Claude Code over its standard streams, as seen with 2.1.329: `--input-format stream-json` and
//! `--permission-prompt-tool stdio`, the protocol of its maker's SDKs.
//!
//! A line that is not JSON would end it at once; an interrupt is answered within milliseconds, takes back the open
//! questions by itself, and is followed by a `result`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::formats::claude_stream_json::Reader;
use super::super::formats::tool;
use super::super::observe::lenient;
use super::super::{Observer, TurnRequest, json_rpc};
use super::{CANCELLED, Driver, Effect, Question, Questions};
use promptd_model::{Observation, PermissionKind, Stream};

/// The driver for one attempt of a turn.
pub(crate) fn driver(request: &TurnRequest<'_>) -> Box<dyn Driver> {
    let content = json!([{ "type": "text", "text": request.prompt }]);
    let prompt = json!({ "type": "user", "message": { "role": "user", "content": content } });
    Box::new(ClaudeControl {
        stream: Reader::default(),
        questions: Questions::default(),
        is_interrupted: false,
        is_over: false,
        due: vec![Effect::Write(json_rpc::line(&prompt))],
    })
}

struct ClaudeControl {
    stream: Reader,
    questions: Questions<Asked>,
    is_interrupted: bool,
    is_over: bool,
    due: Vec<Effect>,
}

/// What an answer has to repeat.
#[derive(Debug)]
struct Asked {
    request_id: String,
    input: Value,
    suggestions: Value,
}

const ALLOW: &str = "allow";
const ALWAYS: &str = "allow_always";
const REJECT: &str = "reject";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    request_id: String,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

impl Line<'_> {
    /// What is asked; `None` where that is no JSON, such as half a surrogate pair, which JavaScript writes.
    fn request(&self) -> Option<Value> {
        serde_json::from_str(self.request?.get()).ok()
    }
}

fn subtype_of(request: Option<&Value>) -> Option<&str> {
    request?.get("subtype")?.as_str()
}

impl Observer for ClaudeControl {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        self.stream.line(stream, line);
        if stream == Stream::Stderr || self.is_over {
            return;
        }
        if let Ok(line) = serde_json::from_slice::<Line<'_>>(line) {
            if line.kind == "control_request" {
                let request = line.request();
                self.requested(line.request_id, request);
            } else if line.kind == "control_cancel_request" {
                let id = self.questions.withdraw(|asked| asked.request_id == line.request_id);
                self.due.extend(id.map(Effect::Withdraw));
            }
        }
        // What works in the background may still ask.
        let seen = self.observation();
        if seen.final_event.is_some() && (!seen.busy || self.is_interrupted) {
            self.is_over = true;
            // An answer that comes now would be written behind the end.
            drop(self.questions.take());
            self.due.push(Effect::Close);
        }
    }

    fn observation(&self) -> &Observation {
        self.stream.observation()
    }
}

impl Driver for ClaudeControl {
    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.due)
    }

    fn answer(&mut self, id: &str, option: &str) {
        if option == CANCELLED {
            self.interrupt();
        } else if let Some(asked) = self.questions.answer(id, option) {
            let decision = match option {
                ALLOW => json!({ "behavior": "allow", "updatedInput": asked.input }),
                ALWAYS => json!({
                    "behavior": "allow",
                    "updatedInput": asked.input,
                    "updatedPermissions": asked.suggestions,
                }),
                _ => json!({ "behavior": "deny", "message": "The user does not allow this." }),
            };
            self.respond(&json!({ "subtype": "success", "request_id": asked.request_id, "response": decision }));
        }
    }

    fn interrupt(&mut self) {
        if self.is_interrupted || self.is_over {
            return;
        }
        self.is_interrupted = true;
        self.questions.take();
        let request = json!({ "subtype": "interrupt" });
        let interrupt = json!({ "type": "control_request", "request_id": "interrupt", "request": request });
        self.due.push(Effect::Write(json_rpc::line(&interrupt)));
    }

    fn wrote(&mut self, line: &[u8]) {
        if let Ok(line) = serde_json::from_slice::<Line<'_>>(line)
            && line.kind == "control_request"
            && subtype_of(line.request().as_ref()) == Some("interrupt")
        {
            self.interrupt();
        }
    }
}

impl ClaudeControl {
    fn requested(&mut self, request_id: String, request: Option<Value>) {
        let refuse = |error: &str| json!({ "subtype": "error", "request_id": request_id, "error": error });
        let Some(mut request) = request else {
            return self.respond(&refuse("promptd cannot read this request"));
        };
        if subtype_of(Some(&request)) != Some("can_use_tool") {
            return self.respond(&refuse("promptd offers no such request"));
        }
        if self.is_interrupted {
            // Claude takes its questions back.
            return;
        }
        let mut take = |name: &str| request.get_mut(name).map(Value::take).unwrap_or_default();
        let (input, suggestions) = (take("input"), take("permission_suggestions"));
        let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
        let call = tool::asked(text("tool_use_id"), text("tool_name"), input.clone());
        let mut options = vec![Question::option(ALLOW, "Allow", PermissionKind::AllowOnce)];
        if suggestions.as_array().is_some_and(|rules| !rules.is_empty()) {
            let name = "Allow, and do not ask again";
            options.push(Question::option(ALWAYS, name, PermissionKind::AllowAlways));
        }
        options.push(Question::option(REJECT, "Reject", PermissionKind::RejectOnce));
        let question = Question {
            id: String::new(),
            title: call.fields.title.clone().unwrap_or_default(),
            options,
            tool_call: Some(json_rpc::value(&call)),
        };
        let asked = Asked {
            request_id,
            input,
            suggestions,
        };
        let question = self.questions.ask(asked, question);
        self.due.push(Effect::Ask(question));
    }

    fn respond(&mut self, response: &Value) {
        let response = json!({ "type": "control_response", "response": response });
        self.due.push(Effect::Write(json_rpc::line(&response)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::plain;
    use super::*;

    #[test]
    fn a_question_that_claude_takes_back_waits_for_nobody() {
        let mut driver = driver(&plain());
        for id in ["a", "b"] {
            let request = json!({ "subtype": "can_use_tool", "tool_name": "Bash", "input": {} });
            let ask = json!({ "type": "control_request", "request_id": id, "request": request });
            driver.line(Stream::Stdout, ask.to_string().as_bytes());
        }
        driver.effects();
        let back = br#"{"type":"control_cancel_request","request_id":"a"}"#;
        driver.line(Stream::Stdout, back);
        assert_eq!(driver.effects(), [Effect::Withdraw("1".to_owned())]);
        driver.line(Stream::Stdout, back);
        driver.answer("1", ALLOW);
        assert_eq!(driver.effects(), []);
        driver.answer("2", ALLOW);
        assert_eq!(driver.effects().len(), 1);
    }

    /// Claude waits for ever for what it has asked.
    #[test]
    fn whatever_claude_asks_gets_an_answer() {
        let request = r#"{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"echo \ud83d"}}"#;
        for request in [request, r#"{"subtype":"hook_callback"}"#, "[1]", "null", "7"] {
            let mut driver = driver(&plain());
            driver.effects();
            let line = format!(r#"{{"type":"control_request","request_id":"q","request":{request}}}"#);
            driver.line(Stream::Stdout, line.as_bytes());
            let effects = driver.effects();
            let [Effect::Write(answer)] = effects.as_slice() else {
                panic!("{request}: {effects:?}")
            };
            let answer: Value = serde_json::from_slice(answer).unwrap();
            let answer = &answer["response"];
            assert_eq!(
                (&answer["subtype"], &answer["request_id"]),
                (&json!("error"), &json!("q"))
            );
        }
    }
}
