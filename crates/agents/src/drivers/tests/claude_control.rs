//! Questions of claude that no recording has.

use serde_json::{Value, json};

use crate::TurnRequest;
use crate::drivers::claude_control::new;
use crate::drivers::driver::{Driver, Effect};
use crate::tests::plain;
use promptd_model::{AnswerDetails, PermissionMode, Stream};

fn asking() -> TurnRequest<'static> {
    TurnRequest {
        permission: PermissionMode::Ask,
        ..plain()
    }
}

#[test]
fn a_withdrawn_question_is_closed() {
    let mut driver = new(&asking());
    for id in ["a", "b"] {
        let request = json!({ "subtype": "can_use_tool", "tool_name": "Bash", "input": {} });
        let ask = json!({ "type": "control_request", "request_id": id, "request": request });
        driver.observe_line(Stream::Stdout, ask.to_string().as_bytes());
    }
    driver.take_effects();
    let withdrawal = br#"{"type":"control_cancel_request","request_id":"a"}"#;
    driver.observe_line(Stream::Stdout, withdrawal);
    assert_eq!(driver.take_effects(), [Effect::Withdraw("1".to_owned())]);
    driver.observe_line(Stream::Stdout, withdrawal);
    driver.answer("1", "allow", &AnswerDetails::default());
    assert_eq!(driver.take_effects(), []);
    driver.answer("2", "allow", &AnswerDetails::default());
    assert_eq!(driver.take_effects().len(), 1);
}

/// Claude waits without a limit for each response.
#[test]
fn every_request_gets_a_response() {
    let request = r#"{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"echo \ud83d"}}"#;
    for request in [request, r#"{"subtype":"hook_callback"}"#, "[1]", "null", "7"] {
        let mut driver = new(&asking());
        driver.take_effects();
        let line = format!(r#"{{"type":"control_request","request_id":"q","request":{request}}}"#);
        driver.observe_line(Stream::Stdout, line.as_bytes());
        let effects = driver.take_effects();
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

/// It is talked with only because of its prompt.
#[test]
fn claude_that_is_not_to_ask_is_allowed_everything() {
    let mut driver = new(&plain());
    driver.take_effects();
    let request = json!({ "subtype": "can_use_tool", "tool_name": "Bash", "input": { "command": "ls" } });
    let ask = json!({ "type": "control_request", "request_id": "a", "request": request });
    driver.observe_line(Stream::Stdout, ask.to_string().as_bytes());
    let effects = driver.take_effects();
    let [Effect::Write(answer)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let expected = json!({ "behavior": "allow", "updatedInput": { "command": "ls" } });
    assert_eq!(answer["response"]["response"], expected);
}

fn decision(driver: &mut dyn Driver) -> Value {
    let effects = driver.take_effects();
    let [Effect::Write(answer)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let answer: Value = serde_json::from_slice(answer).unwrap();
    answer["response"]["response"].clone()
}

/// As claude 2.1.332 asks.
#[test]
fn questions_of_claude_get_their_answers() {
    let choices = json!([{ "label": "Red", "description": "r" }, { "label": "Blue", "description": "b" }]);
    let asked = json!([
        { "question": "Which color?", "header": "Color", "options": choices, "multiSelect": false },
        { "question": "Which more?", "header": "More", "options": choices, "multiSelect": true },
    ]);
    let request = json!({ "subtype": "can_use_tool", "tool_name": "AskUserQuestion", "input": { "questions": asked } });
    let ask = json!({ "type": "control_request", "request_id": "a", "request": request }).to_string();
    let mut driver = new(&asking());
    driver.take_effects();
    driver.observe_line(Stream::Stdout, ask.as_bytes());
    let effects = driver.take_effects();
    let [Effect::Ask(question)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let [color, more] = question.questions.as_slice() else {
        panic!("{question:?}")
    };
    assert_eq!(
        (color.id.as_str(), color.multiple, more.multiple),
        ("Which color?", false, true)
    );
    assert_eq!(color.choices[1].value, "Blue");
    let details = json!({ "answers": { "Which color?": { "other": "Green" }, "Which more?": ["Red", "Blue"] } });
    driver.answer("1", "allow", &serde_json::from_value(details).unwrap());
    let answers = json!({ "Which color?": "Green", "Which more?": "Red, Blue" });
    let expected = json!({ "behavior": "allow", "updatedInput": { "questions": asked, "answers": answers } });
    assert_eq!(decision(&mut *driver), expected);
}

#[test]
fn changed_input_and_reasons_reach_claude() {
    let request = json!({ "subtype": "can_use_tool", "tool_name": "Bash", "input": { "command": "ls" } });
    let ask = json!({ "type": "control_request", "request_id": "a", "request": request }).to_string();
    for (option, details, expected) in [
        (
            "allow",
            json!({ "updated_input": { "command": "pwd" } }),
            json!({ "behavior": "allow", "updatedInput": { "command": "pwd" } }),
        ),
        (
            "reject",
            json!({ "reason": "not now" }),
            json!({ "behavior": "deny", "message": "not now" }),
        ),
    ] {
        let mut driver = new(&asking());
        driver.observe_line(Stream::Stdout, ask.as_bytes());
        driver.take_effects();
        driver.answer("1", option, &serde_json::from_value(details).unwrap());
        assert_eq!(decision(&mut *driver), expected);
    }
}

/// What claude asked for is what it calls the tool with, to the last digit.
#[test]
fn input_that_nobody_changes_is_sent_back_as_it_was() {
    let input = r#"{"id":123456789012345678901,"part":0.10000000000000000001,"z":1,"a":-0}"#;
    let request = format!(r#"{{"subtype":"can_use_tool","tool_name":"mcp__db__delete","input":{input}}}"#);
    let line = format!(r#"{{"type":"control_request","request_id":"a","request":{request}}}"#);
    for (request, asks) in [(asking(), true), (plain(), false)] {
        let mut driver = new(&request);
        driver.take_effects();
        driver.observe_line(Stream::Stdout, line.as_bytes());
        if asks {
            driver.take_effects();
            driver.answer("1", "allow", &AnswerDetails::default());
        }
        let effects = driver.take_effects();
        let [Effect::Write(answer)] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        let answer = String::from_utf8_lossy(answer);
        assert!(answer.contains(&format!(r#""updatedInput":{input}"#)), "{answer}");
    }
}

/// An answer that nobody gave would be taken for the user's.
#[test]
fn questions_are_rejected_where_nobody_is_asked() {
    let request = json!({ "subtype": "can_use_tool", "tool_name": "AskUserQuestion", "input": { "questions": [] } });
    let ask = json!({ "type": "control_request", "request_id": "a", "request": request }).to_string();
    let mut driver = new(&plain());
    driver.take_effects();
    driver.observe_line(Stream::Stdout, ask.as_bytes());
    assert_eq!(decision(&mut *driver)["behavior"], "deny");
}
