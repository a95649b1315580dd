//! Items of codex that no recording has.

use serde_json::json;

use super::updates;
use crate::formats::codex_json::CODEX_JSON;

fn item(event: &str, item: &serde_json::Value) -> String {
    json!({ "type": event, "item": item }).to_string()
}

#[test]
fn a_todo_list_is_the_plan() {
    let list = json!({"id": "item_1", "type": "todo_list", "items": [{"text": "a", "completed": true}, {"text": "b"}]});
    for event in ["item.started", "item.updated", "item.completed"] {
        let updates = updates(&CODEX_JSON, &item(event, &list));
        assert_eq!(updates[0]["sessionUpdate"], "plan");
        assert_eq!(updates[0]["entries"][0]["status"], "completed");
        assert_eq!(updates[0]["entries"][1]["status"], "pending");
    }
}

#[test]
fn a_completed_call_without_a_start_gives_two_updates() {
    let call = json!({"id": "item_1", "type": "command_execution", "command": "x", "aggregated_output": "denied",
                      "exit_code": null, "status": "declined"});
    let updates = updates(&CODEX_JSON, &item("item.completed", &call));
    assert_eq!(updates[0]["sessionUpdate"], "tool_call");
    assert_eq!(updates[1]["status"], "failed");
    assert_eq!(updates[1]["content"][0]["content"]["text"], "denied");
}

#[test]
fn growing_output_is_sent_in_full() {
    let call = |output: &str| {
        json!({"id": "item_1", "type": "command_execution", "command": "x", "aggregated_output": output,
               "status": "in_progress"})
    };
    let lines = [item("item.started", &call("")), item("item.updated", &call("a"))];
    let updates = updates(&CODEX_JSON, &lines.join("\n"));
    assert_eq!(updates.len(), 2);
    assert_eq!(updates[1]["status"], "in_progress");
    assert_eq!(updates[1]["content"][0]["content"]["text"], "a");
}

#[test]
fn a_failed_mcp_call_has_the_reason() {
    let call = json!({"id": "item_1", "type": "mcp_tool_call", "server": "s", "tool": "t", "arguments": {"a": 1},
                      "result": null, "error": {"message": "no such zone"}, "status": "failed"});
    let updates = updates(&CODEX_JSON, &item("item.completed", &call));
    assert_eq!(updates[0]["name"], "mcp__s__t");
    assert_eq!(updates[0]["rawInput"]["a"], 1);
    assert_eq!(updates[1]["status"], "failed");
    assert_eq!(updates[1]["content"][0]["content"]["text"], "no such zone");
}

#[test]
fn other_lines_are_raw() {
    for line in [
        r#"{"type":"error","message":"unexpected status 400"}"#,
        r#"{"type":"item.completed","item":{"id":"item_0","type":"new"}}"#,
        r#"{"type":"turn.failed","error":{"message":"x"}}"#,
        "not JSON",
    ] {
        let updates = updates(&CODEX_JSON, line);
        assert_eq!(updates[0]["sessionUpdate"], "_raw", "{line}");
        assert_eq!(updates[0]["line"], line);
    }
}

#[test]
fn a_retry_and_a_warning_are_notices() {
    let line = r#"{"type":"error","message":"Reconnecting... 2/5 (stream disconnected before completion)"}"#;
    let retry = updates(&CODEX_JSON, line);
    assert_eq!(retry[0]["sessionUpdate"], "notice");
    let facts = json!({"cause": "network", "attempt": 2, "max_attempts": 5});
    assert_eq!(retry[0]["_meta"]["retry"], facts);
    let warning = json!({"id": "item_0", "type": "error", "message": "Model metadata not found"});
    let warning = updates(&CODEX_JSON, &item("item.completed", &warning));
    assert_eq!(
        (&warning[0]["sessionUpdate"], &warning[0]["title"]),
        (&json!("notice"), &json!("Model metadata not found"))
    );
}
