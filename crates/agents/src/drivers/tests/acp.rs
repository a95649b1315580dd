//! The ACP driver with messages that no recording has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::drivers::acp::{new, of_configured};
use crate::drivers::driver::{CANCELLED, Driver, Effect};
use crate::formats::acp::wire::{AUTH_REQUIRED, INITIALIZE, MODE, MODEL, PROMPT, SESSION};
use crate::launch::request::TurnRequest;
use crate::tests::plain;
use promptd_model::{AnswerDetails, Cause, FinalEvent, McpServer, PermissionMode, StopReason, Stream};

/// The effects that are due: lines as JSON, the others by name.
fn due(driver: &mut dyn Driver) -> Vec<Value> {
    let mut all = Vec::new();
    for effect in driver.take_effects() {
        match effect {
            Effect::Write(lines) => {
                let lines = String::from_utf8(lines).expect("text");
                all.extend(
                    lines
                        .lines()
                        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")),
                );
            }
            Effect::Ask(question) => all.push(json!({ "ask": question.id })),
            Effect::Withdraw(id) => all.push(json!({ "withdraw": id })),
            Effect::Steered { number, taken } => all.push(json!({ "steered": number, "taken": taken })),
            Effect::Close => all.push(json!("close")),
        }
    }
    all
}

fn receive(driver: &mut dyn Driver, message: &Value) -> Vec<Value> {
    driver.observe_line(Stream::Stdout, message.to_string().as_bytes());
    due(driver)
}

fn result(id: i64, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn ask(id: i64, kinds: &[&str]) -> Value {
    let options: Vec<_> = kinds
        .iter()
        .map(|kind| json!({ "optionId": kind, "name": kind, "kind": kind }))
        .collect();
    let params = json!({ "sessionId": "s", "toolCall": { "toolCallId": "c", "title": "Run" }, "options": options });
    json!({ "jsonrpc": "2.0", "id": id, "method": "session/request_permission", "params": params })
}

/// A driver that has sent the prompt.
fn prompted(permission: PermissionMode) -> Box<dyn Driver> {
    let request = TurnRequest { permission, ..plain() };
    let mut driver = new(&request);
    due(&mut *driver);
    receive(&mut *driver, &result(INITIALIZE, &json!({ "protocolVersion": 1 })));
    let effects = receive(&mut *driver, &result(SESSION, &json!({ "sessionId": "s" })));
    assert_eq!(
        effects,
        [
            json!({ "jsonrpc": "2.0", "id": PROMPT, "method": "session/prompt", "params": {
        "sessionId": "s", "prompt": [{ "type": "text", "text": "hello" }]
    } })
        ]
    );
    driver
}

fn last(driver: &dyn Driver) -> FinalEvent {
    driver.observation().final_event.clone().expect("it has ended")
}

#[test]
fn bypass_allows_every_question() {
    let mut driver = prompted(PermissionMode::Bypass);
    let chosen = |effects: Vec<Value>| effects.first().map(|effects| effects["result"]["outcome"].clone());
    let effects = receive(&mut *driver, &ask(7, &["reject_once", "allow_always", "allow_once"]));
    assert_eq!(
        chosen(effects),
        Some(json!({ "outcome": "selected", "optionId": "allow_once" }))
    );
    let effects = receive(&mut *driver, &ask(8, &["allow_always"]));
    assert_eq!(
        chosen(effects),
        Some(json!({ "outcome": "selected", "optionId": "allow_always" }))
    );
    let effects = receive(&mut *driver, &ask(9, &["reject_once"]));
    assert_eq!(chosen(effects), Some(json!({ "outcome": "cancelled" })));
}

#[test]
fn only_the_first_valid_answer_counts() {
    let mut driver = prompted(PermissionMode::Ask);
    assert_eq!(receive(&mut *driver, &ask(0, &["allow_once"])), [json!({ "ask": "1" })]);
    driver.answer("1", "allow_always", &AnswerDetails::default());
    driver.answer("2", "allow_once", &AnswerDetails::default());
    assert!(due(&mut *driver).is_empty());
    driver.answer("1", "allow_once", &AnswerDetails::default());
    driver.answer("1", "allow_once", &AnswerDetails::default());
    assert_eq!(due(&mut *driver).len(), 1);
}

#[test]
fn a_withdrawn_question_is_closed() {
    let mut driver = prompted(PermissionMode::Ask);
    receive(&mut *driver, &ask(0, &["allow_once"]));
    let withdrawal = json!({ "jsonrpc": "2.0", "method": "$/cancel_request", "params": { "requestId": 0 } });
    let effects = receive(&mut *driver, &withdrawal);
    assert_eq!(effects[0], json!({ "withdraw": "1" }));
    assert_eq!(
        (&effects[1]["id"], &effects[1]["error"]["code"]),
        (&json!(0), &json!(-32800))
    );
    driver.answer("1", "allow_once", &AnswerDetails::default());
    assert_eq!(due(&mut *driver), Vec::<Value>::new());
    assert_eq!(receive(&mut *driver, &withdrawal), Vec::<Value>::new());
}

#[test]
fn an_interrupt_cancels_first_and_survives_a_replay() {
    let mut live = prompted(PermissionMode::Ask);
    receive(&mut *live, &ask(0, &["allow_once"]));
    live.interrupt();
    let effects = due(&mut *live);
    let methods: Vec<_> = effects.iter().map(|line| line["method"].clone()).collect();
    assert_eq!(methods, [json!("session/cancel"), Value::Null]);
    let cancel = effects.first().expect("a line").to_string();
    for by in [0, 1] {
        let mut replay = prompted(PermissionMode::Ask);
        receive(&mut *replay, &ask(0, &["allow_once"]));
        if by == 0 {
            replay.observe_written(cancel.as_bytes());
        } else {
            replay.answer("1", CANCELLED, &AnswerDetails::default());
        }
        assert_eq!(due(&mut *replay), effects);
    }
    // Later questions are cancelled.
    let late = receive(&mut *live, &ask(1, &["allow_once"]));
    assert_eq!(
        late,
        [json!({ "jsonrpc": "2.0", "id": 1, "result": { "outcome": { "outcome": "cancelled" } } })]
    );
    let end = receive(&mut *live, &result(PROMPT, &json!({ "stopReason": "cancelled" })));
    assert_eq!(end, [json!("close")]);
    assert_eq!(last(&*live).stop_reason, Some(StopReason::Cancelled));
}

#[test]
fn an_interrupt_before_the_prompt_ends_the_turn() {
    let mut driver = new(&plain());
    due(&mut *driver);
    driver.interrupt();
    assert_eq!(due(&mut *driver), [json!("close")]);
    assert_eq!(last(&*driver).stop_reason, Some(StopReason::Cancelled));
}

#[test]
fn unknown_methods_are_refused() {
    let mut driver = prompted(PermissionMode::Ask);
    let effects = receive(
        &mut *driver,
        &json!({ "jsonrpc": "2.0", "id": "x", "method": "fs/read_text_file", "params": {} }),
    );
    let [refusal] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (&refusal["id"], &refusal["error"]["code"]),
        (&json!("x"), &json!(-32601))
    );
    let broken = json!({ "jsonrpc": "2.0", "id": 4, "method": "session/request_permission", "params": [] });
    let effects = receive(&mut *driver, &broken);
    assert_eq!(
        effects.first().map(|effects| effects["error"]["code"].clone()),
        Some(json!(-32602))
    );
}

#[test]
fn the_model_is_selected_if_it_is_offered() {
    let models = json!({ "currentModelId": "a", "availableModels": [{ "modelId": "b" }] });
    let options = json!([{ "id": "m", "category": "model", "type": "select", "currentValue": "a",
        "options": [{ "group": "g", "options": [{ "value": "b", "name": "B" }] }] }]);
    for (offer, method) in [
        (json!({ "sessionId": "s", "models": models }), "session/set_model"),
        (
            json!({ "sessionId": "s", "configOptions": options }),
            "session/set_config_option",
        ),
        (json!({ "sessionId": "s" }), "session/prompt"),
    ] {
        let mut driver = new(&TurnRequest {
            model: Some("b"),
            ..plain()
        });
        due(&mut *driver);
        receive(&mut *driver, &result(INITIALIZE, &json!({ "protocolVersion": 1 })));
        let effects = receive(&mut *driver, &result(SESSION, &offer));
        assert_eq!(
            effects.first().map(|effects| effects["method"].clone()),
            Some(json!(method))
        );
        if method != "session/prompt" {
            let effects = receive(&mut *driver, &result(MODEL, &json!({})));
            assert_eq!(
                effects.first().map(|effects| effects["method"].clone()),
                Some(json!("session/prompt"))
            );
        }
    }
}

#[test]
fn a_dialog_that_cannot_continue_ends_with_the_reason() {
    let servers = [(
        "docs".to_owned(),
        McpServer {
            url: Some("http://x".to_owned()),
            ..McpServer::default()
        },
    )];
    let servers = BTreeMap::from(servers);
    let with_server = TurnRequest {
        mcp_servers: &servers,
        ..plain()
    };
    let resuming = TurnRequest {
        first_turn: false,
        agent_session_id: Some("old"),
        ..plain()
    };
    let error = |code: i64| json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": "no" } });
    for (request, answer, cause, text) in [
        (
            plain(),
            result(INITIALIZE, &json!({ "protocolVersion": 2 })),
            Cause::AgentError,
            "version 2 of ACP",
        ),
        (
            plain(),
            result(INITIALIZE, &json!([])),
            Cause::AgentError,
            "not valid ACP",
        ),
        (plain(), error(AUTH_REQUIRED), Cause::Auth, "refused `initialize`: no"),
        (
            with_server,
            result(INITIALIZE, &json!({ "protocolVersion": 1 })),
            Cause::AgentError,
            "\"docs\"",
        ),
        (
            resuming,
            result(INITIALIZE, &json!({ "protocolVersion": 1 })),
            Cause::AgentError,
            "cannot resume",
        ),
    ] {
        let mut driver = new(&request);
        due(&mut *driver);
        assert_eq!(receive(&mut *driver, &answer), [json!("close")]);
        assert_eq!(last(&*driver).outcome, Err(cause), "{text}");
        let error = last(&*driver).error.unwrap_or_default();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn mcp_servers_are_sent_in_acps_terms() {
    let text = r#"{"here": {"command": "run", "args": ["a"], "env": {"K": "v"}},
        "there": {"url": "http://x", "headers": {"H": "v"}}, "old": {"type": "sse", "url": "http://y"}}"#;
    let servers = serde_json::from_str(text).expect("servers");
    let mut driver = new(&TurnRequest {
        mcp_servers: &servers,
        ..plain()
    });
    due(&mut *driver);
    let able = json!({ "mcpCapabilities": { "http": true, "sse": true } });
    let offer = json!({ "protocolVersion": 1, "agentCapabilities": able });
    let effects = receive(&mut *driver, &result(INITIALIZE, &offer));
    assert_eq!(
        effects.first().map(|effects| effects["params"]["mcpServers"].clone()),
        Some(json!([
            { "name": "here", "command": "run", "args": ["a"], "env": [{ "name": "K", "value": "v" }] },
            { "type": "sse", "name": "old", "url": "http://y", "headers": [] },
            { "type": "http", "name": "there", "url": "http://x", "headers": [{ "name": "H", "value": "v" }] },
        ]))
    );
}

/// A former version sent the prompt without a mode, and this one continues with the turn.
#[test]
fn prompt_that_was_written_without_a_mode_is_no_interrupt() {
    let request = TurnRequest {
        permission: PermissionMode::Ask,
        ..plain()
    };
    let mut driver = of_configured(&request, Some("asking"));
    due(&mut *driver);
    receive(&mut *driver, &result(INITIALIZE, &json!({ "protocolVersion": 1 })));
    let modes = json!({ "currentModeId": "free", "availableModes": [{ "id": "free" }, { "id": "asking" }] });
    let begun = result(SESSION, &json!({ "sessionId": "s", "modes": modes }));
    assert_eq!(receive(&mut *driver, &begun)[0]["method"], "session/set_mode");
    let prompt = json!({ "jsonrpc": "2.0", "id": PROMPT, "method": "session/prompt", "params": {} });
    assert!(!driver.observe_written(prompt.to_string().as_bytes()));
    assert_eq!(driver.awaited_method(), None);
    // The prompt is not sent twice.
    assert_eq!(receive(&mut *driver, &result(MODE, &json!({}))), Vec::<Value>::new());
    receive(&mut *driver, &result(PROMPT, &json!({ "stopReason": "end_turn" })));
    assert_eq!(last(&*driver).outcome, Ok(()));
}
