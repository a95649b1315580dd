//! What no recording has: an agent that speaks ACP as it may.

use serde_json::{Value, json};

use super::super::super::formats::acp::AUTH_REQUIRED;
use super::super::super::tests::plain;
use super::*;
use promptd_model::{FinalEvent, PermissionMode, StopReason};

/// What is due: lines as JSON, and the rest by name.
fn due(driver: &mut dyn Driver) -> Vec<Value> {
    let mut all = Vec::new();
    for effect in driver.effects() {
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
            Effect::Close => all.push(json!("close")),
        }
    }
    all
}

fn hear(driver: &mut dyn Driver, message: &Value) -> Vec<Value> {
    driver.line(Stream::Stdout, message.to_string().as_bytes());
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

/// A driver whose prompt the agent has.
fn prompted(permission: PermissionMode) -> Box<dyn Driver> {
    let request = TurnRequest { permission, ..plain() };
    let mut driver = driver(&request);
    due(&mut *driver);
    hear(&mut *driver, &result(INITIALIZE, &json!({ "protocolVersion": 1 })));
    let said = hear(&mut *driver, &result(SESSION, &json!({ "sessionId": "s" })));
    assert_eq!(
        said,
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
fn who_may_do_everything_is_not_asked() {
    let mut driver = prompted(PermissionMode::Bypass);
    let chosen = |said: Vec<Value>| said.first().map(|said| said["result"]["outcome"].clone());
    let said = hear(&mut *driver, &ask(7, &["reject_once", "allow_always", "allow_once"]));
    assert_eq!(
        chosen(said),
        Some(json!({ "outcome": "selected", "optionId": "allow_once" }))
    );
    let said = hear(&mut *driver, &ask(8, &["allow_always"]));
    assert_eq!(
        chosen(said),
        Some(json!({ "outcome": "selected", "optionId": "allow_always" }))
    );
    let said = hear(&mut *driver, &ask(9, &["reject_once"]));
    assert_eq!(chosen(said), Some(json!({ "outcome": "cancelled" })));
}

#[test]
fn an_answer_counts_once_and_only_if_it_is_one() {
    let mut driver = prompted(PermissionMode::Ask);
    assert_eq!(hear(&mut *driver, &ask(0, &["allow_once"])), [json!({ "ask": "1" })]);
    driver.answer("1", "allow_always");
    driver.answer("2", "allow_once");
    assert!(due(&mut *driver).is_empty());
    driver.answer("1", "allow_once");
    driver.answer("1", "allow_once");
    assert_eq!(due(&mut *driver).len(), 1);
}

#[test]
fn a_question_that_is_taken_back_waits_for_nobody() {
    let mut driver = prompted(PermissionMode::Ask);
    hear(&mut *driver, &ask(0, &["allow_once"]));
    let back = json!({ "jsonrpc": "2.0", "method": "$/cancel_request", "params": { "requestId": 0 } });
    let said = hear(&mut *driver, &back);
    assert_eq!(said[0], json!({ "withdraw": "1" }));
    assert_eq!((&said[1]["id"], &said[1]["error"]["code"]), (&json!(0), &json!(-32800)));
    driver.answer("1", "allow_once");
    assert_eq!(due(&mut *driver), Vec::<Value>::new());
    assert_eq!(hear(&mut *driver, &back), Vec::<Value>::new());
}

#[test]
fn an_interrupt_cancels_before_it_answers_and_is_known_by_what_was_written() {
    let mut live = prompted(PermissionMode::Ask);
    hear(&mut *live, &ask(0, &["allow_once"]));
    live.interrupt();
    let said = due(&mut *live);
    let methods: Vec<_> = said.iter().map(|line| line["method"].clone()).collect();
    assert_eq!(methods, [json!("session/cancel"), Value::Null]);
    let cancel = said.first().expect("a line").to_string();
    for by in [0, 1] {
        let mut replay = prompted(PermissionMode::Ask);
        hear(&mut *replay, &ask(0, &["allow_once"]));
        if by == 0 {
            replay.wrote(cancel.as_bytes());
        } else {
            replay.answer("1", CANCELLED);
        }
        assert_eq!(due(&mut *replay), said);
    }
    // What is asked from now on is void.
    let late = hear(&mut *live, &ask(1, &["allow_once"]));
    assert_eq!(
        late,
        [json!({ "jsonrpc": "2.0", "id": 1, "result": { "outcome": { "outcome": "cancelled" } } })]
    );
    let end = hear(&mut *live, &result(PROMPT, &json!({ "stopReason": "cancelled" })));
    assert_eq!(end, [json!("close")]);
    assert_eq!(last(&*live).stop_reason, Some(StopReason::Cancelled));
}

#[test]
fn an_interrupt_before_the_prompt_ends_it_all() {
    let mut driver = driver(&plain());
    due(&mut *driver);
    driver.interrupt();
    assert_eq!(due(&mut *driver), [json!("close")]);
    assert_eq!(last(&*driver).stop_reason, Some(StopReason::Cancelled));
}

#[test]
fn what_promptd_does_not_offer_is_refused() {
    let mut driver = prompted(PermissionMode::Ask);
    let said = hear(
        &mut *driver,
        &json!({ "jsonrpc": "2.0", "id": "x", "method": "fs/read_text_file", "params": {} }),
    );
    let [refusal] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(
        (&refusal["id"], &refusal["error"]["code"]),
        (&json!("x"), &json!(-32601))
    );
    let broken = json!({ "jsonrpc": "2.0", "id": 4, "method": "session/request_permission", "params": [] });
    let said = hear(&mut *driver, &broken);
    assert_eq!(
        said.first().map(|said| said["error"]["code"].clone()),
        Some(json!(-32602))
    );
}

#[test]
fn a_model_is_chosen_where_it_is_offered() {
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
        let mut driver = driver(&TurnRequest {
            model: Some("b"),
            ..plain()
        });
        due(&mut *driver);
        hear(&mut *driver, &result(INITIALIZE, &json!({ "protocolVersion": 1 })));
        let said = hear(&mut *driver, &result(SESSION, &offer));
        assert_eq!(said.first().map(|said| said["method"].clone()), Some(json!(method)));
        if method != "session/prompt" {
            let said = hear(&mut *driver, &result(MODEL, &json!({})));
            assert_eq!(
                said.first().map(|said| said["method"].clone()),
                Some(json!("session/prompt"))
            );
        }
    }
}

#[test]
fn what_cannot_go_on_ends_with_the_reason() {
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
        (plain(), result(INITIALIZE, &json!([])), Cause::AgentError, "not ACP's"),
        (
            plain(),
            error(AUTH_REQUIRED),
            Cause::Auth,
            "refused to be talked with: no",
        ),
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
        let mut driver = driver(&request);
        due(&mut *driver);
        assert_eq!(hear(&mut *driver, &answer), [json!("close")]);
        assert_eq!(last(&*driver).outcome, Err(cause), "{text}");
        let error = last(&*driver).error.unwrap_or_default();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn servers_of_tools_are_told_in_acps_words() {
    let text = r#"{"here": {"command": "run", "args": ["a"], "env": {"K": "v"}},
        "there": {"url": "http://x", "headers": {"H": "v"}}, "old": {"type": "sse", "url": "http://y"}}"#;
    let servers = serde_json::from_str(text).expect("servers");
    let mut driver = driver(&TurnRequest {
        mcp_servers: &servers,
        ..plain()
    });
    due(&mut *driver);
    let able = json!({ "mcpCapabilities": { "http": true, "sse": true } });
    let offer = json!({ "protocolVersion": 1, "agentCapabilities": able });
    let said = hear(&mut *driver, &result(INITIALIZE, &offer));
    assert_eq!(
        said.first().map(|said| said["params"]["mcpServers"].clone()),
        Some(json!([
            { "name": "here", "command": "run", "args": ["a"], "env": [{ "name": "K", "value": "v" }] },
            { "type": "sse", "name": "old", "url": "http://y", "headers": [] },
            { "type": "http", "name": "there", "url": "http://x", "headers": [{ "name": "H", "value": "v" }] },
        ]))
    );
}
